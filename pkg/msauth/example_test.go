package msauth_test

import (
	"fmt"

	"millrace/pkg/msauth"
)

// A token never prints itself.
func ExampleToken() {
	fmt.Println(msauth.Token{Value: "secret"})
	// Output: [token]
}
