// Package app is the ingester: it reads what Microsoft 365 serves and writes it to the raw topics, once.
package app

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"millrace/internal/conf"
	"millrace/internal/service"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

// Config is the whole configuration of the ingester: the operator's reference.
type Config struct {
	service.Config `koanf:",squash"`
	Kafka          wire.Kafka `koanf:"kafka"`
	Tenants        []Tenant   `koanf:"tenants" help:"The directories to read, one connector each. All replicas must have the same list."`
	Limits         Limits     `koanf:"limits"`
	Webhook        Webhook    `koanf:"webhook"`
}

// Webhook is the receiver of the feed's notifications: optional, and a hint only.
type Webhook struct {
	Address string      `koanf:"address" help:"Public address, https://host/path, under which Microsoft reaches the receiver; empty = no webhook. Polling alone is complete, a notification only makes it look earlier."`
	Listen  string      `koanf:"listen" help:"host:port of the receiver. It speaks http: put a proxy with a certificate in front of it."`
	AuthID  conf.Secret `koanf:"auth_id" help:"Where the value is that Microsoft has to send with each call: file:/run/secrets/name or env:NAME."`
}

// path is the path that the receiver answers.
func (w Webhook) path() (string, error) {
	u, err := url.Parse(w.Address)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return "", fmt.Errorf("webhook.address: %q: give https://host/path, or nothing for no webhook", w.Address)
	case !w.AuthID.IsSet():
		return "", errors.New("webhook.auth_id: say where the value is that Microsoft has to send with each call")
	case w.Listen == "":
		return "", errors.New("webhook.listen: give host:port")
	case u.Path == "":
		return "/", nil
	}
	return u.Path, nil
}

// Tenant is one Microsoft 365 directory and the app registration that reads it. Exactly one of client_secret, certificate_file,
// federated_token_file and managed_identity is set.
type Tenant struct {
	ID       string `koanf:"id" help:"Directory (tenant) id, a GUID."`
	ClientID string `koanf:"client_id" help:"Application (client) id of the app registration."`

	Secret             conf.Secret `koanf:"client_secret" help:"Where the client secret is: file:/run/secrets/name or env:NAME. The file is read again for each sign-in."`
	CertificateFile    string      `koanf:"certificate_file" help:"PEM or PFX file with the certificate chain and its private key. Read again for each sign-in."`
	CertificateSecret  conf.Secret `koanf:"certificate_password" help:"Where the password of a PFX file is: file:/run/secrets/name or env:NAME."`
	FederatedTokenFile string      `koanf:"federated_token_file" help:"File with the token of another issuer, for workload identity federation."`
	ManagedIdentity    bool        `koanf:"managed_identity" help:"Sign in as the identity of this machine or app service; client_id names a user-assigned one, empty is the system-assigned."`

	Cloud       string `koanf:"cloud" help:"enterprise (default), gcc, gcchigh, dod or china."`
	PublisherID string `koanf:"publisher_id" help:"Tenant id of the company that runs this collector; empty = the tenant itself."`
	Hosts       Hosts  `koanf:"hosts"`
	CAFile      string `koanf:"ca_file" help:"PEM file of the authorities that the hosts are trusted by; empty = the system's."`

	Components        []string `koanf:"components" help:"activities, directory; empty = both. files is not supported yet."`
	ContentTypes      []string `koanf:"content_types" help:"Audit.AzureActiveDirectory, Audit.Exchange, Audit.SharePoint, Audit.General, DLP.All; empty = all. DLP.All carries matched secrets."`
	RequestsPerMinute int      `koanf:"requests_per_minute" help:"The tenant's quota; 0 = 2000, the baseline of the service. Lowered by itself while the service throttles."`
	Paused            bool     `koanf:"paused" help:"Read nothing of this tenant; its subscriptions stay on, and what is not read within 7 days is lost. A paused tenant needs no credential."`
	Fetches           int      `koanf:"fetches" help:"Blobs fetched at a time; 0 = 16."`
	Waive             []string `koanf:"waive" help:"Numbers of prerequisites that -check shall not insist on, for example [K8] in a tenant without Entra ID P1."`
}

// Hosts replace the hosts of the cloud, for a simulator or a disconnected cloud.
type Hosts struct {
	Authority string `koanf:"authority" help:"Sign-in host, https://host. Setting it also trusts it without asking Microsoft about it."`
	API       string `koanf:"api" help:"Management Activity API host, https://host."`
	Graph     string `koanf:"graph" help:"Microsoft Graph host, https://host."`
}

// Limits bound the ingester's memory and pace.
type Limits struct {
	MaxBlob        conf.Size     `koanf:"max_blob" help:"Largest content blob that is accepted, decompressed. One such blob at a time is in memory."`
	Memory         conf.Size     `koanf:"memory" help:"Blobs held in memory by the whole process."`
	SpoolDir       string        `koanf:"spool_dir" help:"Folder where blobs over 4 MiB wait for their transaction; empty = the system's temporary folder."`
	DirectoryEvery time.Duration `koanf:"directory_every" help:"Time between two reads of the changes of a directory."`
	RetryWait      time.Duration `koanf:"retry_wait" help:"First wait after a failed call, doubled for each further failure; ten times as long when the service throttles."`
	ListGrace      time.Duration `koanf:"list_grace" help:"How long replicas may have different lists of tenants, as while a change is rolled out, before the status says so."`
	PollFastest    time.Duration `koanf:"poll_fastest" help:"Time between two polls of an active content type."`
	PollSlowest    time.Duration `koanf:"poll_slowest" help:"Time between two polls of a quiet content type."`
}

// DefaultConfig is what an operator gets who says nothing.
func DefaultConfig() Config {
	return Config{
		Config:  service.DefaultConfig(9101),
		Kafka:   wire.DefaultKafka(),
		Webhook: Webhook{Listen: "127.0.0.1:9111"},
		Limits: Limits{
			MaxBlob: m365.DefaultMaxBlob, Memory: 32 << 20, DirectoryEvery: 5 * time.Minute, RetryWait: 3 * time.Second, ListGrace: time.Minute,
			PollFastest: 2 * time.Second, PollSlowest: time.Minute,
		},
	}
}

// Validate names the first key that is wrong and what it takes.
func (c Config) Validate() error {
	if err := c.Kafka.Validate(); err != nil {
		return err
	}
	if len(c.Tenants) == 0 {
		return errors.New("tenants: name at least one tenant with id, client_id and a credential")
	}
	seen := make(map[audit.TenantID]bool)
	for i := range c.Tenants {
		id, err := c.Tenants[i].validate()
		if err != nil {
			return fmt.Errorf("tenants.%d.%w", i, err)
		}
		if seen[id] {
			return fmt.Errorf("tenants.%d.id: %s is listed twice: one connector a tenant", i, id)
		}
		seen[id] = true
	}
	if c.Webhook.Address != "" {
		if _, err := c.Webhook.path(); err != nil {
			return err
		}
	}
	l := c.Limits
	switch {
	case l.MaxBlob < 1<<20:
		return errors.New("limits.max_blob: use 1MiB or more, or blobs of the service will not fit")
	case l.Memory < 16<<20:
		return errors.New("limits.memory: use 16MiB or more")
	case l.PollFastest < 10*time.Millisecond || l.PollSlowest < l.PollFastest:
		return errors.New("limits.poll_fastest: use 10ms or more, and no more than limits.poll_slowest")
	case l.RetryWait < time.Millisecond, l.DirectoryEvery < time.Second, l.ListGrace < time.Millisecond:
		return errors.New("limits.retry_wait, limits.directory_every, limits.list_grace: use positive times")
	}
	return nil
}

// validate judges one tenant; its error begins with the key.
func (t Tenant) validate() (audit.TenantID, error) {
	id, err := audit.ParseTenantID(t.ID)
	if err != nil {
		return "", fmt.Errorf("id: %w", err)
	}
	credentials := 0
	for _, set := range []bool{t.Secret.IsSet(), t.CertificateFile != "", t.FederatedTokenFile != "", t.ManagedIdentity} {
		if set {
			credentials++
		}
	}
	switch {
	case t.Paused && credentials == 0 && t.ClientID == "":
		return id, nil
	case t.ClientID == "" && !t.ManagedIdentity:
		return "", errors.New("client_id: give the application (client) id of the app registration")
	case credentials != 1:
		return "", errors.New("client_secret: set exactly one of client_secret, certificate_file, federated_token_file and managed_identity")
	case t.CertificateSecret.IsSet() && t.CertificateFile == "":
		return "", errors.New("certificate_password: there is no certificate_file that it could be of")
	case t.PublisherID != "" && !audit.IsGUID(t.PublisherID):
		return "", errors.New("publisher_id: give a tenant id, a GUID, or leave it empty")
	case t.RequestsPerMinute < 0:
		return "", errors.New("requests_per_minute: use 0 for the default or a positive number")
	case t.Fetches < 0 || t.Fetches > 64:
		return "", errors.New("fetches: use 1 to 64, or 0 for the default")
	}
	for _, number := range t.Waive {
		if !slices.Contains(prerequisites(), number) {
			return "", fmt.Errorf("waive: %q is not a prerequisite that can fail: use %s", number, strings.Join(prerequisites(), ", "))
		}
	}
	if _, err := t.hosts(); err != nil {
		return "", err
	}
	if _, err := t.contentTypes(); err != nil {
		return "", err
	}
	for _, c := range t.Components {
		switch c {
		case componentActivities, componentDirectory:
		case "files":
			return "", errors.New("components: files is not supported yet; it would need activities and file monitoring")
		default:
			return "", fmt.Errorf("components: %q is not known: use activities and directory", c)
		}
	}
	return id, nil
}

// The components of a connector.
const (
	componentActivities = "activities"
	componentDirectory  = "directory"
)

func (t Tenant) has(component string) bool {
	return len(t.Components) == 0 || slices.Contains(t.Components, component)
}

// hosts are the cloud's, replaced by those that are set.
func (t Tenant) hosts() (m365.Hosts, error) {
	h, ok := m365.Cloud(t.Cloud)
	if !ok {
		return h, fmt.Errorf("cloud: %q is not known: use one of %s", t.Cloud, strings.Join(m365.Clouds(), ", "))
	}
	for _, o := range []struct {
		key, value string
		into       *string
	}{{"authority", t.Hosts.Authority, &h.Authority}, {"api", t.Hosts.API, &h.API}, {"graph", t.Hosts.Graph, &h.Graph}} {
		if o.value == "" {
			continue
		}
		if !strings.HasPrefix(o.value, "https://") {
			return h, fmt.Errorf("hosts.%s: %q: give https:// and a host; tokens are sent over https only", o.key, o.value)
		}
		*o.into = strings.TrimRight(o.value, "/")
	}
	return h, nil
}

func (t Tenant) contentTypes() ([]audit.ContentType, error) {
	if !t.has(componentActivities) {
		return nil, nil
	}
	if len(t.ContentTypes) == 0 {
		return audit.ContentTypes(), nil
	}
	var out []audit.ContentType
	for _, name := range t.ContentTypes {
		ct := audit.ContentType(name)
		if ct.Source() == "" || slices.Contains(out, ct) {
			return nil, fmt.Errorf("content_types: %q is not known, or there twice: the five are Audit.AzureActiveDirectory, Audit.Exchange, Audit.SharePoint, Audit.General and DLP.All", name)
		}
		out = append(out, ct)
	}
	return out, nil
}
