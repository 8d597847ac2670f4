package ca

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	keyFile, certFile   = "ca.key", "ca.pem"
	keyBlock, certBlock = "PRIVATE KEY", "CERTIFICATE"
)

// Bundle is the certificates of the file systemRoots followed by the region's root. A system without
// that file gives the region's root alone.
func (a *Authority) Bundle(systemRoots string) ([]byte, error) {
	roots, err := os.ReadFile(systemRoots)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("ca: system roots: %w", err)
	}
	var b bytes.Buffer
	b.Write(roots)
	if len(roots) > 0 && roots[len(roots)-1] != '\n' {
		b.WriteByte('\n')
	}
	b.Write(a.PEM())
	return b.Bytes(), nil
}

// WriteBundle writes Bundle to path, which anyone may read; a reader sees the old file or the new one,
// never a part.
func (a *Authority) WriteBundle(path, systemRoots string) error {
	b, err := a.Bundle(systemRoots)
	if err != nil {
		return err
	}
	return writeFile(filepath.Dir(path), filepath.Base(path), b, 0o644)
}

func decodePEM(data []byte, typ string) []byte {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != typ {
		return nil
	}
	return block.Bytes
}

// writeFile makes dir/name durable with exactly these bytes and this mode.
func writeFile(dir, name string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	return nil
}
