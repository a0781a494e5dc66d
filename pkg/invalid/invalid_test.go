package invalid_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

func TestNothingWrongIsNoError(t *testing.T) {
	var f invalid.Fields
	if err := f.Err(); err != nil {
		t.Errorf("no fault, and yet: %v", err)
	}
	if err := (invalid.Fields{}).Err(); err != nil {
		t.Errorf("an empty list is an error: %v", err)
	}
}

func TestErrorNamesEveryField(t *testing.T) {
	var f invalid.Fields
	f.Add("name", "has %d characters, the limit is %d", 151, 150)
	f.Add("url", "is required")
	err := fmt.Errorf("webhook: %w", f.Err())
	if want := "webhook: name: has 151 characters, the limit is 150; url: is required"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	got, ok := errors.AsType[invalid.Fields](err)
	if !ok || len(got) != 2 || got[0] != (invalid.Field{Name: "name", Message: "has 151 characters, the limit is 150"}) || got[1].Name != "url" {
		t.Errorf("fields behind the error: %+v", got)
	}
}
