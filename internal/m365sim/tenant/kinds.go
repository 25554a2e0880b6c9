package tenant

// A kind is one sort of record: the content type that carries it and the function that writes it.
type kind struct {
	typ    int
	render func(*writer)
}

// Positions of the content types in ContentTypes.
const (
	tEntra = iota
	tExchange
	tSharePoint
	tGeneral
	tDLP
)

const (
	kindSignIn uint16 = iota
	kindSignInFailed
	kindServiceSignIn
	kindUserChange
	kindAppChange
	kindConsent
	kindMailItem
	kindMailGroup
	kindMailAccessed
	kindInboxRule
	kindExchangeAdmin
	kindExchangeSystem
	kindFile
	kindFileDownloaded
	kindSharing
	kindPage
	kindList
	kindSiteAdmin
	kindTeamsMessage
	kindTeamsSession
	kindTeamsMembers
	kindPowerBI
	kindCRM
	kindFlow
	kindPowerApp
	kindForms
	kindYammer
	kindCopilot
	kindTodo
	kindAip
	kindLabel
	kindAlert
	kindCompliance
	kindDiscovery
	kindMailThreat
	kindURLClick
	kindFileThreat
	kindAir
	kindQuarantine
	kindDefender
	kindEndpointDLP
	kindPowerPlatform
	kindRare
	kindUnknown
	kindRareEntra
	kindRareExchange
	kindRareSharePoint
	kindRareDLP
	kindDLPExchange
	kindDLPSharePoint
	kindDLPOneDrive
	numKinds
)

// kinds is read only; renderers are looked up in it for every record.
var kinds = [numKinds]kind{
	kindSignIn:         {tEntra, (*writer).signIn},
	kindSignInFailed:   {tEntra, (*writer).signInFailed},
	kindServiceSignIn:  {tEntra, (*writer).serviceSignIn},
	kindUserChange:     {tEntra, (*writer).userChange},
	kindAppChange:      {tEntra, (*writer).appChange},
	kindConsent:        {tEntra, (*writer).consent},
	kindMailItem:       {tExchange, (*writer).mailItem},
	kindMailGroup:      {tExchange, (*writer).mailGroup},
	kindMailAccessed:   {tExchange, (*writer).mailAccessed},
	kindInboxRule:      {tExchange, (*writer).inboxRule},
	kindExchangeAdmin:  {tExchange, (*writer).exchangeAdmin},
	kindExchangeSystem: {tExchange, (*writer).exchangeSystem},
	kindFile:           {tSharePoint, (*writer).file},
	kindFileDownloaded: {tSharePoint, (*writer).fileDownloaded},
	kindSharing:        {tSharePoint, (*writer).sharing},
	kindPage:           {tSharePoint, (*writer).page},
	kindList:           {tSharePoint, (*writer).list},
	kindSiteAdmin:      {tSharePoint, (*writer).siteAdmin},
	kindTeamsMessage:   {tGeneral, (*writer).teamsMessage},
	kindTeamsSession:   {tGeneral, (*writer).teamsSession},
	kindTeamsMembers:   {tGeneral, (*writer).teamsMembers},
	kindPowerBI:        {tGeneral, (*writer).powerBI},
	kindCRM:            {tGeneral, (*writer).crm},
	kindFlow:           {tGeneral, (*writer).flow},
	kindPowerApp:       {tGeneral, (*writer).powerApp},
	kindForms:          {tGeneral, (*writer).forms},
	kindYammer:         {tGeneral, (*writer).yammer},
	kindCopilot:        {tGeneral, (*writer).copilot},
	kindTodo:           {tGeneral, (*writer).todo},
	kindAip:            {tGeneral, (*writer).aip},
	kindLabel:          {tGeneral, (*writer).label},
	kindAlert:          {tGeneral, (*writer).alert},
	kindCompliance:     {tGeneral, (*writer).compliance},
	kindDiscovery:      {tGeneral, (*writer).discovery},
	kindMailThreat:     {tGeneral, (*writer).mailThreat},
	kindURLClick:       {tGeneral, (*writer).linkClick},
	kindFileThreat:     {tGeneral, (*writer).fileThreat},
	kindAir:            {tGeneral, (*writer).air},
	kindQuarantine:     {tGeneral, (*writer).quarantine},
	kindDefender:       {tGeneral, (*writer).defender},
	kindEndpointDLP:    {tGeneral, (*writer).endpointDLP},
	kindPowerPlatform:  {tGeneral, (*writer).powerPlatform},
	kindRare:           {tGeneral, func(w *writer) { w.rare(tGeneral) }},
	kindUnknown:        {tGeneral, (*writer).unknown},
	kindRareEntra:      {tEntra, func(w *writer) { w.rare(tEntra) }},
	kindRareExchange:   {tExchange, func(w *writer) { w.rare(tExchange) }},
	kindRareSharePoint: {tSharePoint, func(w *writer) { w.rare(tSharePoint) }},
	kindRareDLP:        {tDLP, func(w *writer) { w.rare(tDLP) }},
	kindDLPExchange:    {tDLP, (*writer).dlpExchange},
	kindDLPSharePoint:  {tDLP, (*writer).dlpSharePoint},
	kindDLPOneDrive:    {tDLP, (*writer).dlpOneDrive},
}

// sums turns pairs of kind and weight into a table for pickKind.
func sums(pairs ...int) []weighted {
	out := make([]weighted, 0, len(pairs)/2)
	sum := 0
	for i := 0; i < len(pairs); i += 2 {
		sum += pairs[i+1]
		out = append(out, weighted{sum: sum, kind: uint16(pairs[i])})
	}
	return out
}

// How often people, guests, admins and services do each thing.
var (
	userKinds = sums(int(kindMailItem), 120, int(kindMailGroup), 50, int(kindMailAccessed), 160, int(kindFile), 200, int(kindFileDownloaded), 30,
		int(kindSharing), 25, int(kindPage), 60, int(kindList), 30, int(kindTeamsMessage), 60, int(kindTeamsSession), 25, int(kindTeamsMembers), 6,
		int(kindPowerBI), 35, int(kindCRM), 20, int(kindFlow), 8, int(kindPowerApp), 8, int(kindForms), 8, int(kindYammer), 8, int(kindCopilot), 20,
		int(kindTodo), 6, int(kindAip), 10, int(kindLabel), 8, int(kindSignIn), 40, int(kindURLClick), 4, int(kindEndpointDLP), 12, int(kindInboxRule), 1, int(kindConsent), 1, int(kindRare), 8)
	guestKinds = sums(int(kindFile), 60, int(kindPage), 20, int(kindTeamsMessage), 20, int(kindSharing), 2)
	adminKinds = sums(int(kindUserChange), 50, int(kindAppChange), 15, int(kindConsent), 3, int(kindExchangeAdmin), 30, int(kindSiteAdmin), 10,
		int(kindCompliance), 15, int(kindDiscovery), 5, int(kindDefender), 8, int(kindPowerPlatform), 6, int(kindQuarantine), 5, int(kindTeamsMembers), 6)
	serviceKinds = sums(int(kindExchangeSystem), 30, int(kindServiceSignIn), 30, int(kindAppChange), 10, int(kindAlert), 10, int(kindMailThreat), 14, int(kindFileThreat), 3,
		int(kindAir), 3, int(kindDLPExchange), 14, int(kindDLPSharePoint), 10, int(kindDLPOneDrive), 10, int(kindCompliance), 6, int(kindRare), 20, int(kindUnknown), 2, int(kindRareEntra), 1, int(kindRareExchange), 1, int(kindRareSharePoint), 2, int(kindRareDLP), 1, int(kindQuarantine), 3, int(kindDefender), 4)
)
