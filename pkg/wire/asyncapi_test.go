package wire

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/schemas"
)

// asyncAPI is schemas/asyncapi.yaml as far as its tests read it. Members that it does not have are an error.
type asyncAPI struct {
	AsyncAPI           string `yaml:"asyncapi"`
	ID                 string
	Info               struct{ Title, Version, Description string }
	DefaultContentType string `yaml:"defaultContentType"`
	Channels           map[string]channel
	Operations         map[string]struct {
		Action  string
		Channel ref
	}
	Components struct {
		Parameters map[string]parameter
		Messages   map[string]message
		Schemas    map[string]any
	}
}

type ref struct {
	Ref string `yaml:"$ref"`
}

type parameter struct {
	ref                  `yaml:",inline"`
	Description, Default string
	Enum                 []string
}

type channel struct {
	Address, Title, Description string
	Parameters                  map[string]parameter
	Messages                    map[string]ref
	Bindings                    struct {
		Kafka struct {
			Partitions, Replicas int
			TopicConfiguration   map[string]any `yaml:"topicConfiguration"`
			BindingVersion       string         `yaml:"bindingVersion"`
		}
	}
}

type message struct {
	Name, Title string
	ContentType string `yaml:"contentType"`
	Headers     ref
	Payload     map[string]any
	Bindings    struct {
		Kafka struct {
			Key            map[string]any
			BindingVersion string `yaml:"bindingVersion"`
		}
	}
}

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	b, err := schemas.FS.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc asyncAPI
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.AsyncAPI != "3.0.0" || doc.Info.Title == "" || doc.Info.Version == "" {
		t.Fatalf("not a document of AsyncAPI 3: %q, %+v", doc.AsyncAPI, doc.Info)
	}
	return doc
}

// parameter is one of a channel, looked up if it is shared.
func (d asyncAPI) parameter(t *testing.T, c channel, name string) parameter {
	t.Helper()
	p, ok := c.Parameters[name]
	if shared, isRef := strings.CutPrefix(p.Ref, "#/components/parameters/"); isRef {
		p, ok = d.Components.Parameters[shared]
	}
	if !ok {
		t.Fatalf("%s: no parameter %s", c.Address, name)
	}
	return p
}

// topics are the names of a channel under the default prefix, and their variable part.
func (d asyncAPI) topics(t *testing.T, c channel) map[string]string {
	t.Helper()
	names := map[string]string{strings.ReplaceAll(c.Address, "{prefix}", d.parameter(t, c, "prefix").Default): ""}
	for name := range c.Parameters {
		if name == "prefix" {
			continue
		}
		filled := map[string]string{}
		for _, value := range d.parameter(t, c, name).Enum {
			for topic := range names {
				filled[strings.ReplaceAll(topic, "{"+name+"}", value)] = value
			}
		}
		names = filled
	}
	for topic := range names {
		if strings.ContainsAny(topic, "{}") {
			t.Errorf("%s: a parameter is not described", topic)
		}
	}
	return names
}

// TestAsyncAPITopics holds names, partition counts and settings of the channels against those that the binaries create.
func TestAsyncAPITopics(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	want := map[string]kafkatx.TopicSpec{}
	combined := DefaultKafka()
	combined.CombinedTopics = true
	for _, k := range []Kafka{DefaultKafka(), combined} {
		for _, spec := range k.Specs("") {
			want[spec.Name] = spec
		}
	}
	seen := map[string]bool{}
	for name, c := range doc.Channels {
		for topic := range doc.topics(t, c) {
			spec, ok := want[topic]
			if !ok {
				t.Errorf("channel %s: nobody has the topic %s", name, topic)
				continue
			}
			seen[topic] = true
			b := c.Bindings.Kafka
			if b.Partitions != spec.Partitions || b.BindingVersion != "0.5.0" || b.Replicas != 3 {
				t.Errorf("channel %s: %d partitions, %d replicas, binding %s: the topic has %d partitions and 3 replicas", name, b.Partitions, b.Replicas, b.BindingVersion, spec.Partitions)
			}
			for key, value := range b.TopicConfiguration {
				if got := strings.Trim(fmt.Sprint(value), "[]"); got != spec.Configs[key] {
					t.Errorf("channel %s: %s is %s, the topic is made with %s", name, key, got, spec.Configs[key])
				}
			}
			if _, ok := b.TopicConfiguration["retention.ms"]; ok != (spec.Configs["cleanup.policy"] == "delete") {
				t.Errorf("channel %s: retention.ms is there: %t", name, ok)
			}
		}
	}
	for topic := range want {
		if !seen[topic] {
			t.Errorf("no channel describes %s", topic)
		}
	}
}

// TestAsyncAPIOperations holds who reads and writes what against the rights that -topics asks for.
func TestAsyncAPIOperations(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	channelOf := map[string]string{}
	for name, c := range doc.Channels {
		for topic := range doc.topics(t, c) {
			channelOf[topic] = name
		}
	}
	want := map[string]bool{}
	for _, stage := range []string{StageIngester, StageImport, StageNormalizer, StageRedrive, StageEnricher} {
		for _, a := range DefaultKafka().access(stage) {
			if a.read {
				want[stage+"_receive_"+channelOf[a.spec.Name]] = true
			}
			if a.write {
				want[stage+"_send_"+channelOf[a.spec.Name]] = true
			}
		}
	}
	got := map[string]bool{}
	for name, op := range doc.Operations {
		got[name] = true
		if _, action, _ := strings.Cut(name, "_"); action != op.Action+"_"+strings.TrimPrefix(op.Channel.Ref, "#/channels/") {
			t.Errorf("operation %s: action %s on %s", name, op.Action, op.Channel.Ref)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operations (-rights +document): %s", diff)
	}
}

// TestAsyncAPIReferences: each channel has messages that are described, with a key and a value.
func TestAsyncAPIReferences(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	used := map[string]bool{}
	for name, c := range doc.Channels {
		if len(c.Messages) == 0 || c.Title == "" || c.Description == "" {
			t.Errorf("channel %s: say what it is for and which messages it has", name)
		}
		for id, m := range c.Messages {
			used[id] = true
			if m.Ref != "#/components/messages/"+id || doc.Components.Messages[id].Name != id {
				t.Errorf("channel %s: message %s refers to %s", name, id, m.Ref)
			}
		}
	}
	for id, m := range doc.Components.Messages {
		if !used[id] || m.Title == "" || m.Payload == nil || m.Bindings.Kafka.Key == nil || m.Bindings.Kafka.BindingVersion != "0.5.0" {
			t.Errorf("message %s is not whole, or not used", id)
		}
		if schema, ok := m.Payload["schema"].(map[string]any); ok {
			file, _ := schema["$ref"].(string)
			if _, err := schemas.FS.ReadFile(strings.TrimPrefix(file, "./")); err != nil {
				t.Errorf("message %s: %v", id, err)
			}
		}
	}
}

// judge compiles the document's schemas: those of the headers and of the values of a message, and of the keys.
type judge struct {
	t        *testing.T
	doc      asyncAPI
	compiler *jsonschema.Compiler
}

const documentURL = "https://example.org/schemas/asyncapi.yaml"

func newJudge(t *testing.T) judge {
	t.Helper()
	j := judge{t: t, doc: readAsyncAPI(t), compiler: jsonschema.NewCompiler()}
	b, err := schemas.FS.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	if err := j.compiler.AddResource(documentURL, tree); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"raw", "event", "enriched"} {
		b, err := schemas.FS.ReadFile(file + ".v1.json")
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := j.compiler.AddResource("https://example.org/schemas/"+file+".v1.json", value); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// check validates a record against its message; strict demands that each header is described.
func (j judge) check(messageName string, rec kafkatx.Record, strict bool) {
	j.t.Helper()
	headers := map[string]any{}
	for _, h := range rec.Headers {
		headers[h.Key] = string(h.Value)
	}
	m := j.doc.Components.Messages[messageName]
	at := documentURL + "#/components/messages/" + messageName
	for url, value := range map[string]any{
		documentURL + m.Headers.Ref:               headers,
		at + "/bindings/kafka/key":                string(rec.Key),
		at + "/payload" + schemaPath(m):           j.value(m, rec.Value),
		documentURL + "#/components/schemas/text": rec.Topic,
	} {
		schema, err := j.compiler.Compile(url)
		if err != nil {
			j.t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			j.t.Errorf("%s on %s: %v", messageName, rec.Topic, err)
		}
	}
	if !strict {
		return
	}
	known := j.headersOf(m.Headers.Ref)
	for key := range headers {
		if !known[key] {
			j.t.Errorf("%s: the header %s is not described", messageName, key)
		}
	}
}

func schemaPath(m message) string {
	if m.Payload["schema"] != nil {
		return "/schema"
	}
	return ""
}

// value is what a payload schema judges: JSON, or bytes as a text.
func (j judge) value(m message, b []byte) any {
	j.t.Helper()
	if m.Payload["schema"] == nil {
		return string(b)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		j.t.Fatal(err)
	}
	return v
}

// headersOf collects the properties of a schema and of those that it builds on.
func (j judge) headersOf(at string) map[string]bool {
	j.t.Helper()
	schema, _ := j.doc.Components.Schemas[strings.TrimPrefix(at, "#/components/schemas/")].(map[string]any)
	known := map[string]bool{}
	properties, _ := schema["properties"].(map[string]any)
	for key := range properties {
		known[key] = true
	}
	parts, _ := schema["allOf"].([]any)
	for _, part := range parts {
		p, _ := part.(map[string]any)
		next, _ := p["$ref"].(string)
		maps.Copy(known, j.headersOf(next))
	}
	return known
}

// TestAsyncAPIMessages holds what the stages write against the document: the keys, the headers, the values.
func TestAsyncAPIMessages(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	raw := rawRecord(t, logon)
	j.check("raw", raw, true)
	const value = `{"class_uid":3002,"category_uid":3,"activity_id":1,"type_uid":300201,"time":1772438410000,"severity_id":1,` +
		`"metadata":{"version":"1.8.0","product":{"vendor_name":"Microsoft"},"profiles":["cloud"],"uid":"5f0c0b6e-6a0e-5a36-9d57-0f5b8f0b7a11",` +
		`"original_time":"2026-03-02T08:00:10","log_name":"Audit.General","tenant_uid":"3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11"},"cloud":{"provider":"Microsoft"}}`
	event := EventRecord(names, raw, Event{
		UID: "5f0c0b6e-6a0e-5a36-9d57-0f5b8f0b7a11", ClassUID: 3002, TypeUID: 300201, SeverityID: 1, TimeMillis: 1772438410000,
		Workload: audit.WorkloadEntra, Variant: true, Value: []byte(value),
	})
	j.check("event", event, true)
	j.check("enriched", EnrichedRecord(names, event, event.Value), true)
	for _, reason := range Reasons() {
		for _, stage := range []string{StageIngester, StageImport, StageNormalizer, StageEnricher} {
			for _, in := range []kafkatx.Record{raw, event, {Topic: raw.Topic, Key: raw.Key, Value: []byte("no JSON")}} {
				j.check("deadletter", DeadLetter(names, in, stage, reason, "why")[0], false)
			}
		}
	}
	large := raw
	large.Value = make([]byte, MaxDeadLetter+1)
	j.check("deadletter", DeadLetter(names, large, StageNormalizer, ReasonTooLarge, "")[1], false)

	// And the other way round: what must not be written is refused.
	schema, err := j.compiler.Compile(documentURL + "#/components/schemas/rawHeaders")
	if err != nil {
		t.Fatal(err)
	}
	if schema.Validate(map[string]any{"ce_type": typeRaw}) == nil {
		t.Error("headers without provenance are taken")
	}
}

// TestAsyncAPIHeaders holds that each Header constant of this package is described.
func TestAsyncAPIHeaders(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	known := map[string]bool{}
	for _, m := range j.doc.Components.Messages {
		if m.Headers.Ref != "" {
			maps.Copy(known, j.headersOf(m.Headers.Ref))
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "headers.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Header") {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		found++
		if name, err := strconv.Unquote(literal.Value); err != nil || !known[name] {
			t.Errorf("%s: the header %s is not described in schemas/asyncapi.yaml", spec.Names[0].Name, literal.Value)
		}
		return true
	})
	if found < 25 {
		t.Errorf("only %d constants were found in headers.go", found)
	}
	reasons, _ := j.doc.Components.Schemas["deadletterHeaders"].(map[string]any)["properties"].(map[string]any)["ce_reason"].(map[string]any)["enum"].([]any)
	for _, r := range Reasons() {
		if !slices.Contains(reasons, any(string(r))) {
			t.Errorf("the reason %s is not described", r)
		}
	}
}
