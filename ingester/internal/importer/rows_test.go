package importer

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestCSVFields(t *testing.T) {
	t.Parallel()
	in := "a,AuditData,c\r\n1,\"{\"\"x\"\":\"\"y,\n z\"\"}\",3\r\n\r\n2,{},\n3,\"bad\"x,\n4\n5,\"\",\n"
	c, err := newCSVRows(iotest.OneByteReader(strings.NewReader(in)))
	if err != nil {
		t.Fatal(err)
	}
	type got struct {
		N    int
		Text string
		Bad  bool
	}
	var all []got
	for {
		r, err := c.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, got{r.number, string(r.record), r.bad != ""})
	}
	want := []got{{2, "{\"x\":\"y,\n z\"}", false}, {4, "{}", false}, {5, `3,"bad"x,`, true}, {6, "4", true}, {7, "", false}}
	if diff := cmp.Diff(all, want); diff != "" {
		t.Error(diff)
	}
	c, err = newCSVRows(strings.NewReader("AuditData\n\"{"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.next(); !errors.Is(err, errOpenQuote) {
		t.Errorf("open quote: %v", err)
	}
}

func TestUnwrap(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"AuditData":"{\"Id\":\"a\\\"b\"}","X":1}`: `{"Id":"a\"b"}`,
		`{"Id":"a","Nested":{"AuditData":"{}"}}`:    `{"Id":"a","Nested":{"AuditData":"{}"}}`,
		`{"AuditData":"text"}`:                      `{"AuditData":"text"}`,
		`{"AuditData":{"Id":"a"}}`:                  `{"AuditData":{"Id":"a"}}`,
	} {
		if got := string(unwrap([]byte(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// FuzzRows reads any content: rows end in order, the running hash at the end of a row is that of the content up to there, and a CSV that
// encoding/csv reads has the same cells.
func FuzzRows(f *testing.F) {
	for _, s := range []string{"[{\"Id\":1},2]", "{\"a\":1}\n\n{\"b\"", "a;AuditData\n1;\"x\"\"y\n\"\n2;z", "AuditData\r\n\"\"\r\n", "\xEF\xBB\xBF[1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := openFile(path)
		if err != nil {
			return
		}
		defer in.close()
		if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
			return
		}
		last := int64(0)
		for {
			r, err := in.rows.next()
			if err != nil {
				return
			}
			if r.end < last || r.end > int64(len(content)) {
				t.Fatalf("row ends at %d behind %d of %d", r.end, last, len(content))
			}
			last = r.end
			in.tee.advance(r.end)
			if want := sha256.Sum256(content[:r.end]); string(in.tee.h.Sum(nil)) != string(want[:]) {
				t.Fatalf("hash at %d is not that of the content", r.end)
			}
		}
	})
}

func FuzzCSVAgainstStandard(f *testing.F) {
	f.Add("1", "x\"y,\n", "z")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if strings.ContainsAny(a+b+c, "\r") || strings.TrimSpace(b) != b {
			return
		}
		var buf bytes.Buffer
		w := csv.NewWriter(&buf)
		_ = w.Write([]string{"x", "AuditData", "y"})
		_ = w.Write([]string{a, b, c})
		w.Flush()
		rows, err := newCSVRows(&buf)
		if err != nil {
			t.Fatal(err)
		}
		r, err := rows.next()
		if err != nil || r.bad != "" || string(r.record) != b {
			t.Fatalf("%q %v %q, want %q", r.record, err, r.bad, b)
		}
	})
}
