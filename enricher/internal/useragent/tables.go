package useragent

// tableVersion changes whenever a row of the tables does, so that events say by which tables they were read.
const tableVersion = "1"

// clients maps what occurs in a text to a name, most telling first. version is the mark in front of the version where that is
// not the token itself.
var clients = [...]struct {
	token, name, version string
	native               bool
}{
	{token: "Teams/", name: "Microsoft Teams", native: true},
	{token: "SkypeSpaces", name: "Microsoft Teams", version: "SkypeSpaces/", native: true},
	{token: "Outlook-iOS", name: "Outlook Mobile", version: "Outlook-iOS/", native: true},
	{token: "Outlook-Android", name: "Outlook Mobile", version: "Outlook-Android/", native: true},
	{token: "Client=OutlookService", name: "Outlook Mobile", native: true},
	{token: "MacOutlook", name: "Outlook", version: "MacOutlook/", native: true},
	{token: "Microsoft Outlook", name: "Outlook", version: "Microsoft Outlook ", native: true},
	{token: "Client=MSExchangeRPC", name: "Outlook", native: true},
	{token: "Client=MSExchangeActiveSync", name: "ActiveSync", native: true},
	{token: "Client=ActiveSync", name: "ActiveSync", native: true},
	{token: "Client=POP3", name: "POP3", native: true},
	{token: "Client=IMAP4", name: "IMAP4", native: true},
	{token: "Microsoft SkyDriveSync", name: "OneDrive sync", version: "Microsoft SkyDriveSync ", native: true},
	{token: "OneDriveSync", name: "OneDrive sync", version: "OneDriveSync/", native: true},
	{token: "OneDrive", name: "OneDrive", version: "OneDrive/", native: true},
	{token: "onenoteapi", name: "OneNote", native: true},
	{token: "Microsoft Office", name: "Microsoft Office", version: "Microsoft Office/", native: true},
	{token: "MSOffice", name: "Microsoft Office", version: "MSOffice/", native: true},
	{token: "PowerShell", name: "PowerShell", version: "PowerShell/", native: true},
	{token: "Electron/", name: "Electron", native: true},
	{token: "python-requests/", name: "python-requests", native: true},
	{token: "curl/", name: "curl", native: true},
	{token: "okhttp/", name: "okhttp", native: true},
	{token: "Go-http-client/", name: "Go-http-client", native: true},
	{token: "CFNetwork/", name: "CFNetwork", native: true},
	{token: "Edg/", name: "Microsoft Edge"},
	{token: "EdgA/", name: "Microsoft Edge"},
	{token: "EdgiOS/", name: "Microsoft Edge"},
	{token: "Edge/", name: "Microsoft Edge"},
	{token: "OPR/", name: "Opera"},
	{token: "SamsungBrowser/", name: "Samsung Internet"},
	{token: "Firefox/", name: "Firefox"},
	{token: "FxiOS/", name: "Firefox"},
	{token: "CriOS/", name: "Chrome"},
	{token: "Chrome/", name: "Chrome"},
	{token: "MSIE ", name: "Internet Explorer"},
	{token: "Trident/", name: "Internet Explorer", version: "rv:"},
	{token: "Safari/", name: "Safari", version: "Version/"},
	{token: "Client=WebServices", name: "Exchange Web Services", native: true},
	{token: "Client=REST", name: "Exchange REST", native: true},
}

// systems maps what occurs in a text to a system and the device that it usually runs on, most telling first.
var systems = [...]struct {
	token, name string
	device      Device
	versioned   bool // the system's version follows the token
}{
	{"Windows Phone", "Windows Phone", Mobile, true},
	{"Windows NT", "Windows", Desktop, true},
	{"Windows", "Windows", Desktop, false},
	{"iPad; CPU OS", "iPadOS", Tablet, true},
	{"iPadOS", "iPadOS", Tablet, true},
	{"iPad", "iPadOS", Tablet, false},
	{"CPU iPhone OS", "iOS", Mobile, true},
	{"iPhone OS", "iOS", Mobile, true},
	{"iPhone", "iOS", Mobile, false},
	{"Outlook-iOS", "iOS", Mobile, false},
	{"Outlook-Android", "Android", Mobile, false},
	{"Android", "Android", Mobile, true},
	{"Mac OS X", "macOS", Desktop, true},
	{"Macintosh", "macOS", Desktop, false},
	{"MacOutlook", "macOS", Desktop, false},
	{"CrOS", "ChromeOS", Desktop, false},
	{"Linux", "Linux", Desktop, false},
	{"PlayStation", "PlayStation", DeviceOther, false},
	{"Xbox", "Xbox", DeviceOther, false},
}
