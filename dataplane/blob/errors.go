package blob

import (
	"net/http"

	"vauban.dev/internal/storagehttp"
)

// Error is Azure Storage's error ("Blob service error codes").
type Error = storagehttp.Error

// IsCode reports whether err is an *Error of one of the codes.
func IsCode(err error, codes ...string) bool { return storagehttp.IsCode(err, codes...) }

// Codes that callers of the in-process API look for.
const (
	CodeBlobNotFound           = "BlobNotFound"
	CodeBlobAlreadyExists      = "BlobAlreadyExists"
	CodeContainerNotFound      = "ContainerNotFound"
	CodeContainerAlreadyExists = "ContainerAlreadyExists"
	CodeConditionNotMet        = storagehttp.CodeConditionNotMet
	CodeInvalidInput           = storagehttp.CodeInvalidInput
)

// The refusals of all storage services, under short names.
var (
	newError           = storagehttp.NewError
	errConditionNotMet = storagehttp.ConditionNotMet
	errInvalidInput    = storagehttp.InvalidInput
	errInvalidName     = storagehttp.InvalidName
	errInvalidHeader   = storagehttp.InvalidHeader
	errMissingHeader   = storagehttp.MissingHeader
	errInvalidQuery    = storagehttp.InvalidQuery
	errInvalidXML      = storagehttp.InvalidXML
	errTooLarge        = storagehttp.TooLarge
	errNotImplemented  = storagehttp.NotImplemented
	errPermission      = storagehttp.PermissionMismatch
	errAuthentication  = storagehttp.AuthenticationFailed
)

func errBlobNotFound() *Error {
	return newError(http.StatusNotFound, CodeBlobNotFound, "The specified blob does not exist.")
}

func errContainerNotFound() *Error {
	return newError(http.StatusNotFound, CodeContainerNotFound, "The specified container does not exist.")
}

func errContainerExists() *Error {
	return newError(http.StatusConflict, CodeContainerAlreadyExists, "The specified container already exists.")
}

func errBlobExists() *Error {
	return newError(http.StatusConflict, CodeBlobAlreadyExists, "The specified blob already exists.")
}

func errNotModified() *Error {
	return newError(http.StatusNotModified, CodeConditionNotMet, "The condition specified using HTTP conditional header(s) is not met.")
}

func errInvalidBlobType() *Error {
	return newError(http.StatusConflict, "InvalidBlobType", "The blob type is invalid for this operation.")
}
