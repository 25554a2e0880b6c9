package mapping

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"millrace/internal/testkit"
	"millrace/pkg/ocsf"
)

const vendorFieldsFile = "../../../schemas/vendor-fields.csv"

// mark is a value that is found again on the event. Addresses and ids have to look like what they are.
func mark(field string) string {
	switch field {
	case "ClientIP", "ClientIPAddress", "ActorIpAddress", "ActorIP", "UserIp", "SenderIp":
		return "203.0.113.77"
	case "UserKey", "TokenObjectId":
		return "77777777-7777-4777-8777-777777777777"
	}
	return "mark of " + field
}

// probes are the fields that rules read, each with a JSON value that carries the mark, and what else the record needs for it.
func probes() map[string]any {
	p := map[string]any{}
	for _, f := range fieldNames {
		switch f {
		case "Id", "CreationTime", "Operation", "RecordType", "UserType", "IsSuccess", "Actor", "Target", "ExtendedProperties",
			"ModifiedProperties", "DeviceProperties", "Parameters", "AppAccessContext", "Item", "AffectedItems", "Folders", "Messages",
			"recipientList", "ExchangeDetails", "Members", "PolicyDetails", "SharePointMetaData", "ExchangeMetaData", "EndpointMetaData",
			"CopilotEventData", "MembershipInformation", "ItemType", "Severity", "Status", "ResultStatus", "RiskLevel", "Directionality",
			"PolicyAction", "Verdict", "EntityType":
			continue // said in other words, or probed by their parts
		}
		p[f] = mark(f)
	}
	nest := func(path string, wrap func(v any) any) { p[path] = wrap(mark(path)) }
	for _, path := range []string{
		"AppAccessContext.AADSessionId", "AppAccessContext.CorrelationId", "AppAccessContext.ClientAppId", "AppAccessContext.UniqueTokenId",
		"Item.Subject", "Item.InternetMessageId", "Item.Id", "Item.ParentFolder.Path", "Item.ParentFolder.MemberUpn", "Item.ParentFolder.MemberRights",
		"ExchangeDetails.From", "ExchangeDetails.Subject", "ExchangeDetails.InternetMessageId", "ExchangeDetails.NetworkMessageId",
		"SharePointMetaData.From", "SharePointMetaData.FilePathUrl", "ExchangeMetaData.From", "ExchangeMetaData.Subject",
		"ExchangeMetaData.MessageID", "EndpointMetaData.DeviceName",
	} {
		nest(path, func(v any) any {
			parts := strings.Split(path, ".")
			for i := len(parts) - 1; i > 0; i-- {
				v = map[string]any{parts[i]: v}
			}
			return v
		})
	}
	list := func(v any) any { return []any{v} }
	nest("Target[].ID", func(v any) any { return list(map[string]any{"ID": v, "Type": 1}) })
	for _, name := range []string{"Identity", "User", "Trustee", "AccessRights", "Role", "Member"} {
		nest("Parameters["+name+"]", func(v any) any { return list(map[string]any{"Name": name, "Value": v}) })
	}
	for _, name := range []string{"Id", "DisplayName", "OS", "SessionId"} {
		nest("DeviceProperties["+name+"]", func(v any) any {
			return []any{map[string]any{"Name": "Id", "Value": "x"}, map[string]any{"Name": name, "Value": v}}
		})
	}
	for _, name := range []string{"UserAgent", "ResultStatusDetail"} {
		nest("ExtendedProperties["+name+"]", func(v any) any { return list(map[string]any{"Name": name, "Value": v}) })
	}
	for _, name := range []string{"Group.DisplayName", "Group.ObjectID", "Role.DisplayName", "User.UPN", "AppRole.Value"} {
		nest("ModifiedProperties["+name+"]", func(v any) any { return list(map[string]any{"Name": name, "NewValue": v}) })
	}
	nest("Members[].UPN", func(v any) any { return list(map[string]any{"UPN": v}) })
	nest("Members[].DisplayName", func(v any) any { return list(map[string]any{"DisplayName": v}) })
	nest("recipientList[].Address", func(v any) any { return list(map[string]any{"Address": v}) })
	nest("AffectedItems[].Subject", func(v any) any { return list(map[string]any{"Subject": v}) })
	nest("Folders[].FolderItems[].InternetMessageId", func(v any) any {
		return list(map[string]any{"FolderItems": list(map[string]any{"InternetMessageId": v})})
	})
	nest("PolicyDetails[].PolicyName", func(v any) any { return list(map[string]any{"PolicyName": v, "Rules": []any{map[string]any{}}}) })
	nest("PolicyDetails[].Rules[].RuleName", func(v any) any { return list(map[string]any{"Rules": list(map[string]any{"RuleName": v})}) })
	nest("CopilotEventData.AccessedResources[].Name", func(v any) any {
		return map[string]any{"AccessedResources": list(map[string]any{"Name": v})}
	})
	nest("CopilotEventData.ModelTransparencyDetails[].ModelName", func(v any) any {
		return map[string]any{"ModelTransparencyDetails": list(map[string]any{"ModelName": v})}
	})
	return p
}

// TestVendorFields holds schemas/vendor-fields.csv, the table for people who port rules, against what the mapping does.
func TestVendorFields(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{DLPClear: true})
	found := map[string]map[string][]string{} // field → attribute → classes
	seen := map[string]bool{}
	for i := range m.tables.rows {
		row := &m.tables.rows[i]
		types := strings.Fields(operationTable(t)[i][0])
		if types[0] == "*" {
			types = []string{"1"}
		}
		for _, typ := range types[:1] {
			key := strconv.Itoa(int(row.class)) + " " + strconv.Itoa(row.activity) + " " + typ
			if n, err := strconv.Atoi(typ); err == nil && !seen[key] && m.tables.match(n, example(row.pattern)) == row {
				seen[key] = true
				probe(t, m, n, example(row.pattern), found)
			}
		}
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"field", "attribute", "classes"})
	for _, f := range sortedKeys(found) {
		for _, a := range sortedKeys(found[f]) {
			classes := found[f][a]
			slices.Sort(classes)
			classes = slices.Compact(classes)
			text := strings.Join(classes, " ")
			if len(classes) == len(ocsf.Classes()) {
				text = "all"
			}
			_ = w.Write([]string{f, a, text})
		}
	}
	w.Flush()
	if testkit.Update() {
		if err := os.WriteFile(vendorFieldsFile, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vendorFieldsFile)
	if err != nil || !bytes.Equal(want, b.Bytes()) {
		t.Errorf("schemas/vendor-fields.csv does not say what the mapping does (%v): run go test ./normalizer/internal/mapping -run VendorFields -update", err)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// probe maps a record with one field at a time and notes where its mark turns up.
func probe(t *testing.T, m *Mapper, recordType int, op string, found map[string]map[string][]string) {
	t.Helper()
	for field, value := range probes() {
		top, _, _ := strings.Cut(field, ".")
		top, _, _ = strings.Cut(top, "[")
		v := map[string]any{
			"CreationTime": "2026-03-02T08:00:00", "Id": "0d1f", "RecordType": recordType, "Operation": op, "UserId": "ana@example.org",
			"SiteUrl": "https://example.org/", "DestinationFileName": "x",
		}
		v[top] = value
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		e := mapOne(t, m, recordOf(raw, "Audit.General"))[0]
		event := decode(t, e.Value)
		delete(event, "unmapped")
		delete(event, "observables")
		delete(event, "message")
		leaves("", event, func(path, text string) {
			if !strings.Contains(text, mark(field)) {
				return
			}
			path = strings.TrimPrefix(numbers.Replace(path), ".")
			if found[field] == nil {
				found[field] = map[string][]string{}
			}
			found[field][path] = append(found[field][path], strconv.Itoa(e.ClassUID))
		})
	}
}

// numbers takes the places in lists out of a path.
var numbers = strings.NewReplacer("[0]", "[]", "[1]", "[]", "[2]", "[]", "[3]", "[]")
