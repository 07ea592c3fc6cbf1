package engine

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// ErrLibraryMissing says that libchdb is not installed; the message says what to run.
var ErrLibraryMissing = errors.New("the ClickHouse library is not installed")

// ErrDirInUse says that another process has the data directory open.
var ErrDirInUse = errors.New("the engine's data directory is in use")

// ErrDiskFull says that the engine cannot write: the file system of its data
// directory is full.
var ErrDiskFull = errors.New("the disk of the engine's data directory is full")

// ErrClosed is what a dial gets once the engine has been closed.
var ErrClosed = errors.New("the engine is closed")

// ErrNotReady is what a dial gets when the engine did not come up in time.
var ErrNotReady = errors.New("the engine is not ready")

// ClickHouse error codes that this package raises itself or maps to a status.
const (
	codeBadArguments    = 36
	codeNotImplemented  = 48
	codeSyntaxError     = 62
	codeUnknownSetting  = 115
	codeReadonly        = 164
	codeTooManyQueries  = 202
	codeSameQueryID     = 216
	codeQueryTooLarge   = 229
	codeNotEnoughSpace  = 243
	codeOutfile         = 358
	codeSessionNotFound = 372
	codeSessionLocked   = 373
	codeCancelled       = 394
	codeAccessDenied    = 497
	codeStdException    = 1001
)

// exception is an error as ClickHouse words it: "Code: N. DB::Exception: text. (NAME)".
type exception struct {
	code int
	msg  string
}

func (e *exception) Error() string { return e.msg }

// newException reads the code from ClickHouse's text. Text without one (the
// library's own complaints) becomes a STD_EXCEPTION in ClickHouse's wording,
// so that clients parse every error the same way.
func newException(msg string) *exception {
	msg = strings.TrimSpace(msg)
	if rest, ok := strings.CutPrefix(msg, "Code: "); ok {
		digits, _, _ := strings.Cut(rest, ".")
		if code, err := strconv.Atoi(strings.TrimSpace(digits)); err == nil {
			return &exception{code: code, msg: msg}
		}
	}
	return raise(codeStdException, "STD_EXCEPTION", "%s", msg)
}

// raise makes an exception of this package's own in ClickHouse's wording.
func raise(code int, name, format string, args ...any) *exception {
	return &exception{code: code, msg: fmt.Sprintf("Code: %d. DB::Exception: %s. (%s)", code, fmt.Sprintf(format, args...), name)}
}

// asException gives any error ClickHouse's shape.
func asException(err error) *exception {
	var e *exception
	if errors.As(err, &e) {
		return e
	}
	return newException(err.Error())
}

// httpStatus maps an exception code to a status the way the ClickHouse server
// does. Clients read the code, not the status; proxies and people read the status.
func httpStatus(code int) int {
	switch code {
	case 194: // REQUIRED_PASSWORD
		return http.StatusUnauthorized
	case 192, 193, 516, 512, 497: // UNKNOWN_USER, WRONG_PASSWORD, AUTHENTICATION_FAILED, SET_NON_GRANTED_ROLE, ACCESS_DENIED
		return http.StatusForbidden
	case 36, 427, // BAD_ARGUMENTS, CANNOT_COMPILE_REGEXP
		6, 25, 26, 27, 38, 41, 72, 376, 441, 675, 676, // CANNOT_PARSE_…
		8, 15, 44, // THERE_IS_NO_COLUMN, DUPLICATE_COLUMN, ILLEGAL_COLUMN
		37, 123, 167, 168, 223, // UNKNOWN_ELEMENT_IN_AST, UNKNOWN_TYPE_OF_AST_NODE, TOO_DEEP_AST, TOO_BIG_AST, UNEXPECTED_AST_STRUCTURE
		codeSyntaxError, 117, 53, 321: // INCORRECT_DATA, TYPE_MISMATCH, VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
		return http.StatusBadRequest
	case 46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511:
		// UNKNOWN_… FUNCTION, IDENTIFIER, TYPE, STORAGE, TABLE,
		// AGGREGATE_FUNCTION, FORMAT, TYPE_OF_QUERY, DATABASE, SETTING,
		// DIRECTION_OF_SORTING, DATABASE_ENGINE, ROLE
		return http.StatusNotFound
	case 229: // QUERY_IS_TOO_LARGE
		return http.StatusRequestEntityTooLarge
	case codeNotImplemented:
		return http.StatusNotImplemented
	case 209, 76, 439: // SOCKET_TIMEOUT, CANNOT_OPEN_FILE, CANNOT_SCHEDULE_TASK
		return http.StatusServiceUnavailable
	case 381: // HTTP_LENGTH_REQUIRED
		return http.StatusLengthRequired
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusRequestTimeout
	case 779: // UNSUPPORTED_MEDIA_TYPE
		return http.StatusUnsupportedMediaType
	default:
		return http.StatusInternalServerError
	}
}
