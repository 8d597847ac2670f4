#!/bin/sh
# Makes this machine ready for the demo: the programs that a region needs, and two Python environments with
# real clients below .cache. It may be run again at any time: what is there already stays. `setup.sh tests` adds what
# the tests alone need, `setup.sh clients` what the tests with more clients do (terraform must be there), `setup.sh azurerm`
# besides that the Terraform provider of this name.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

# The jobs' containers see the machine's /usr and no other Python.
python=/usr/bin/python3

missing=
need() { # PACKAGE COMMAND…: the package is missing unless the command succeeds
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }
runtime() { has crun || has runc; }
bundle() {
	for f in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
		[ ! -e "$f" ] || return 0
	done
	return 1
}
database() { has initdb || ls /usr/lib/postgresql/*/bin/initdb; }
use=${1-}
look() {
	missing=
	need nftables has nft
	need iproute2 has ip
	need crun runtime
	need ca-certificates bundle
	need python3 test -x "$python"
	need python3-venv "$python" -c 'import ensurepip, venv'
	[ "$use" != tests ] || need postgresql database
	[ "$use" != clients ] || need chromium has chromium
	[ "$use" != clients ] || need libnss3-tools has certutil
}

look
if [ -n "$missing" ]; then
	if ! has apt-get >/dev/null; then
		echo "demo: install these first (names as in Debian):$missing" >&2
		exit 1
	fi
	if [ "$(id -u)" -ne 0 ]; then
		echo "demo: this machine lacks$missing. Install them with" >&2
		echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
		echo "and run the demo again." >&2
		exit 1
	fi
	echo "installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086 # several packages
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
	look
	if [ -n "$missing" ]; then
		echo "demo: still missing after the installation:$missing" >&2
		exit 1
	fi
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	echo "demo: the clients need Python 3.11 or newer; $python is $("$python" -V)" >&2
	exit 1
fi

# The installer, in an environment of its own.
uv=0.9.10
boot=.cache/uv-$uv
if [ ! -x "$boot/bin/uv" ]; then
	rm -rf "$boot"
	"$python" -m venv "$boot.new"
	"$boot.new/bin/pip" install --quiet --disable-pip-version-check "uv==$uv"
	mv "$boot.new" "$boot"
fi

# environment NAME FLAGS… makes .cache/NAME of demo/requirements-NAME.txt, unless it is made of it already.
environment() {
	name=$1
	shift
	dir=.cache/$name
	list=demo/requirements-$name.txt
	stamp=$( (cat "$list" && "$python" -V) | sha256sum | cut -d' ' -f1)
	if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
		return
	fi
	echo "Python environment $dir (once)"
	rm -rf "$dir"
	"$python" -m venv --without-pip "$dir"
	"$boot/bin/uv" pip install --quiet --compile-bytecode --python "$dir/bin/python" "$@" --requirement "$list"
	echo "$stamp" >"$dir/stamp"
}

environment sdk
environment az --prerelease=allow

# provider NAME MODULE VERSION builds a Terraform provider of its Go module into .cache/terraform.
provider() {
	to=$PWD/.cache/terraform/terraform-provider-$1
	stamp=.cache/terraform/$1.stamp
	if [ -x "$to" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$3" ]; then
		return
	fi
	echo "Terraform provider $1 $3 (once)"
	mkdir -p .cache/terraform
	work=$(mktemp -d)
	from=$(cd "$work" && go mod init download >/dev/null 2>&1 && go mod download -json "$2@$3" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	cp -r "$from" "$work/src"
	chmod -R u+w "$work/src"
	rm -rf "$work/src/vendor"
	(cd "$work/src" && CGO_ENABLED=0 GOFLAGS="-mod=mod -buildvcs=false" go build -trimpath -ldflags "-s -w" -o "$to" .)
	rm -rf "$work"
	echo "$3" >"$stamp"
}

if [ "$use" = clients ] || [ "$use" = azurerm ]; then
	environment management
	environment storage
	environment bicep
	environment mlflow
	environment mlflow2
	provider azapi github.com/Azure/terraform-provider-azapi v1.15.0
fi
# Ten minutes of two processors.
if [ "$use" = azurerm ]; then
	provider azurerm github.com/hashicorp/terraform-provider-azurerm v1.44.1-0.20260824201233-fae580791926
fi
