package measure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParts(t *testing.T) {
	failure := errors.New("it broke")
	var ran []string
	part := func(name string, err error) Part[int] {
		return Part[int]{name, "measures " + name, func(_ context.Context, o int) ([]*Table, error) {
			ran = append(ran, name)
			full, empty := NewTable(name, "full", "n"), NewTable(name+"-none", "empty", "n")
			full.Add(o)
			return []*Table{full, empty}, err
		}}
	}
	ps := Parts[int]{part("one", nil), part("two", nil), part("bad", failure)}
	if err := ps.Check([]string{"two", "three"}); err == nil || !strings.Contains(err.Error(), `"three"`) {
		t.Errorf("a part that is not there: %v", err)
	}
	if err := ps.Check([]string{"two"}); err != nil {
		t.Error(err)
	}
	var out bytes.Buffer
	if err := ps.Run(t.Context(), 7, []string{"two", "one"}, &out, false); err != nil {
		t.Error(err)
	}
	if s := out.String(); strings.Join(ran, " ") != "one two" || strings.Count(s, "| 7  |") != 2 || strings.Contains(s, "empty") {
		t.Errorf("%q ran and printed\n%s", ran, s)
	}
	out.Reset()
	if err := ps.Run(t.Context(), 7, nil, &out, false); !errors.Is(err, failure) || !strings.HasPrefix(err.Error(), "bad: ") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "bad: full") {
		t.Errorf("what failed is not printed:\n%s", out.String())
	}
	out.Reset()
	if err := ps.Run(t.Context(), 7, []string{"one"}, &out, true); err != nil {
		t.Error(err)
	}
	var got struct{ Tables []Table }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Tables) != 2 {
		t.Errorf("%d tables: %v", len(got.Tables), err)
	}
}
