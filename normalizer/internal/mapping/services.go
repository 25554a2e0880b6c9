package mapping

// serviceNames are the services behind the vendor's words for workloads. A workload that is not here is its own name.
var serviceNames = map[string]string{
	"AzureActiveDirectory":      "Microsoft Entra ID",
	"Exchange":                  "Exchange Online",
	"SharePoint":                "SharePoint Online",
	"OneDrive":                  "OneDrive",
	"MicrosoftTeams":            "Microsoft Teams",
	"SkypeForBusiness":          "Skype for Business Online",
	"PowerBI":                   "Power BI",
	"MicrosoftFabric":           "Microsoft Fabric",
	"CRM":                       "Dynamics 365",
	"Dynamics":                  "Dynamics 365",
	"SecurityComplianceCenter":  "Microsoft Purview",
	"Security&Compliance":       "Microsoft Purview",
	"ComplianceManager":         "Microsoft Purview Compliance Manager",
	"ThreatIntelligence":        "Microsoft Defender for Office 365",
	"DefenderXDR":               "Microsoft Defender XDR",
	"MCAS":                      "Microsoft Defender for Cloud Apps",
	"AirInvestigation":          "Microsoft Defender for Office 365",
	"Endpoint":                  "Microsoft Purview Endpoint DLP",
	"Aip":                       "Microsoft Purview Information Protection",
	"OnPremisesScanner":         "Microsoft Purview Information Protection",
	"Copilot":                   "Microsoft 365 Copilot",
	"SecurityCopilot":           "Microsoft Security Copilot",
	"MicrosoftSentinel":         "Microsoft Sentinel",
	"PowerApps":                 "Power Apps",
	"MicrosoftFlow":             "Power Automate",
	"PowerPlatform":             "Power Platform",
	"Yammer":                    "Viva Engage",
	"MicrosoftForms":            "Microsoft Forms",
	"MicrosoftStream":           "Microsoft Stream",
	"MicrosoftTodo":             "Microsoft To Do",
	"Planner":                   "Microsoft Planner",
	"Project":                   "Microsoft Project",
	"MyAnalytics":               "Viva Insights",
	"WorkplaceAnalytics":        "Viva Insights",
	"Windows365":                "Windows 365",
	"M365Backup":                "Microsoft 365 Backup",
	"M365AdminCenter":           "Microsoft 365 admin center",
	"MicrosoftGraphDataConnect": "Microsoft Graph Data Connect",
	"AppGovernance":             "App governance",
	"UniversalPrint":            "Universal Print",
	"DataCenterSecurity":        "Microsoft 365 data center",
}

// fallbackService names the service of a record without a workload.
const fallbackService = "Microsoft 365"

// service is the name of the record's service.
func (w *worker) service() string {
	workload := w.record.text(fWorkload)
	if s, ok := serviceNames[workload]; ok {
		return s
	}
	if workload == "" {
		return fallbackService
	}
	return workload
}
