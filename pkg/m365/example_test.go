package m365_test

import (
	"errors"
	"fmt"
	"io"

	"millrace/pkg/m365"
)

// A splitter hands out each record's exact bytes.
func ExampleSplitBytes() {
	s := m365.SplitBytes([]byte(`[{"Id":"a", "Operation":"Send"},{"Id":"b"}]`))
	for {
		record, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(string(record))
	}
	// Output:
	// {"Id":"a", "Operation":"Send"}
	// {"Id":"b"}
}
