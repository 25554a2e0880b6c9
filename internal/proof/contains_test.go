package proof

import "testing"

func TestContains(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, whole, part, path string
		ok                      bool
	}{
		{"equal", `{"a":1}`, `{"a":1}`, "", true},
		{"member added", `{"a":1,"b":2}`, `{"a":1}`, "", true},
		{"member added in front", `{"b":2,"a":1}`, `{"a":1}`, "", true},
		{"deep addition", `{"a":{"x":1,"y":2},"l":[{"p":1,"q":2},3]}`, `{"a":{"x":1},"l":[{"p":1}]}`, "", true},
		{"scalar changed", `{"a":{"x":2}}`, `{"a":{"x":1}}`, ".a.x", false},
		{"member lost", `{"a":{}}`, `{"a":{"x":1}}`, ".a.x", false},
		{"element lost", `{"l":[1]}`, `{"l":[1,2]}`, ".l", false},
		{"element changed", `{"l":[1,{"a":"y"}]}`, `{"l":[1,{"a":"x"}]}`, ".l[1].a", false},
		{"kind changed", `{"l":{}}`, `{"l":[]}`, ".l", false},
		{"not JSON", `x`, `{"l":[]}`, "", false},
		{"cut", `{"l":[1,2`, `{"l":[1]}`, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path, ok := contains([]byte(tt.whole), []byte(tt.part))
			if ok != tt.ok || path != tt.path {
				t.Errorf("got %q, %t, want %q, %t", path, ok, tt.path, tt.ok)
			}
		})
	}
}
