package m365

import "strings"

// Hosts are the three hosts that a tenant's cloud is made of, each as scheme and host without a trailing slash. API and Graph
// are also the audiences that tokens are asked for.
type Hosts struct {
	Authority string // sign-in
	API       string // Management Activity API
	Graph     string // Microsoft Graph
}

// Cloud names the hosts of one of Microsoft's clouds: enterprise, gcc, gcchigh, dod or china (Management Activity API
// reference, Activity API operations; the China hosts are not listed there and are known from the field only).
func Cloud(name string) (Hosts, bool) {
	switch strings.ToLower(name) {
	case "", "enterprise":
		return Hosts{"https://login.microsoftonline.com", "https://manage.office.com", "https://graph.microsoft.com"}, true
	case "gcc":
		return Hosts{"https://login.microsoftonline.com", "https://manage-gcc.office.com", "https://graph.microsoft.com"}, true
	case "gcchigh":
		return Hosts{"https://login.microsoftonline.us", "https://manage.office365.us", "https://graph.microsoft.us"}, true
	case "dod":
		return Hosts{"https://login.microsoftonline.us", "https://manage.protection.apps.mil", "https://dod-graph.microsoft.us"}, true
	case "china":
		return Hosts{"https://login.partner.microsoftonline.cn", "https://manage.office365.cn", "https://microsoftgraph.chinacloudapi.cn"}, true
	}
	return Hosts{}, false
}

// Clouds lists the names that Cloud knows.
func Clouds() []string { return []string{"enterprise", "gcc", "gcchigh", "dod", "china"} }
