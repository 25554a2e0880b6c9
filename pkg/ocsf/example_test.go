package ocsf_test

import (
	"fmt"

	"millrace/pkg/ocsf"
)

func ExampleEvent_Append() {
	e := ocsf.Event{Class: ocsf.ClassAPIActivity, Activity: ocsf.OtherValue("Frobnicate"), Time: 1772442067000}
	e.API.Operation = "Frobnicate"
	fmt.Println(string(e.Append(nil)))
	// Output: {"category_uid":6,"category_name":"Application Activity","class_uid":6003,"class_name":"API Activity","activity_id":99,"activity_name":"Frobnicate","type_uid":600399,"type_name":"API Activity: Other","time":1772442067000,"timezone_offset":0,"api":{"operation":"Frobnicate"}}
}

func ExampleValidate() {
	for _, p := range ocsf.Validate([]byte(`{"class_uid":6003,"time":"yesterday"}`)) {
		if p.Path == "time" {
			fmt.Println(p.Code, p.Message)
		}
	}
	// Output: attribute_wrong_type expected timestamp_t, got "yesterday"
}
