package mapping

// field is a top-level member of vendor records that some rule reads.
type field uint8

const (
	fUnknown field = iota
	fID
	fCreationTime
	fOperation
	fWorkload
	fUserID
	fOrganizationID
	fOrganizationName
	fRecordType
	fUserType
	fUserKey
	fVersion
	fResultStatus
	fObjectID
	fClientIP
	fClientIPAddress
	fActorIPAddress
	fActorIP
	fUserIP
	fSenderIP
	fClientMachineName
	fMachineID
	fUserAgent
	fClientInfoString
	fActor
	fTarget
	fExtendedProperties
	fModifiedProperties
	fDeviceProperties
	fParameters
	fAppAccessContext
	fTokenObjectID
	fApplicationID
	fAppID
	fClientAppID
	fApplicationDisplayName
	fApplicationName
	fSessionID
	fUniqueTokenID
	fClientRequestID
	fInterSystemsID
	fCorrelationID
	fIncidentID
	fAlertID
	fInvestigationID
	fErrorNumber
	fErrorCode
	fLogonError
	fResultStatusDetail
	fResultMessage
	fFailureReason
	fIsSuccess
	fMailboxOwnerUPN
	fMailboxGuid
	fSendAsUserSmtp
	fSendOnBehalfOfUserSmtp
	fItem
	fAffectedItems
	fFolders
	fMessages
	fRecipientList
	fModifiedObjectResolvedName
	fP1Sender
	fP2Sender
	fSender
	fRecipients
	fRecipient
	fReceivers
	fSubject
	fInternetMessageID
	fNetworkMessageID
	fDirectionality
	fPolicyAction
	fVerdict
	fExchangeDetails
	fSourceFileName
	fSourceFileExtension
	fSourceRelativeURL
	fSiteURL
	fItemType
	fListItemUniqueID
	fDestinationFileName
	fDestinationRelativeURL
	fTargetUserOrGroupName
	fUserSharedWith
	fTeamName
	fTeamGuid
	fAADGroupID
	fMembers
	fGroupName
	fAddOnName
	fAddOnGuid
	fAppName
	fMessageID
	fWorkSpaceName
	fWorkspaceID
	fDatasetName
	fDatasetID
	fCrmOrganizationUniqueName
	fInstanceURL
	fEntityName
	fQuery
	fQueryText
	fPolicyDetails
	fSharePointMetaData
	fExchangeMetaData
	fEndpointMetaData
	fRiskID
	fName
	fPolicyID
	fStatus
	fSeverity
	fCategory
	fComments
	fAlertEntityID
	fEntityType
	fURL
	fURLUpper
	fRiskLevel
	fCopilotEventData
	fMembershipInformation
	fChannelName
	fChannelGuid
	fFormName
	fFormID
	fItemName
	numFields
)

// fieldOf is the field of a name; letter case matters, as everywhere in JSON. Longer than a screen because it is one table, in the form
// that the compiler turns into a search.
func fieldOf(name string) field {
	switch name {
	case "Id":
		return fID
	case "CreationTime":
		return fCreationTime
	case "Operation":
		return fOperation
	case "Workload":
		return fWorkload
	case "UserId":
		return fUserID
	case "OrganizationId":
		return fOrganizationID
	case "OrganizationName":
		return fOrganizationName
	case "RecordType":
		return fRecordType
	case "UserType":
		return fUserType
	case "UserKey":
		return fUserKey
	case "Version":
		return fVersion
	case "ResultStatus":
		return fResultStatus
	case "ObjectId":
		return fObjectID
	case "ClientIP":
		return fClientIP
	case "ClientIPAddress":
		return fClientIPAddress
	case "ActorIpAddress":
		return fActorIPAddress
	case "ActorIP":
		return fActorIP
	case "UserIp":
		return fUserIP
	case "SenderIp":
		return fSenderIP
	case "ClientMachineName":
		return fClientMachineName
	case "MachineId":
		return fMachineID
	case "UserAgent":
		return fUserAgent
	case "ClientInfoString":
		return fClientInfoString
	case "Actor":
		return fActor
	case "Target":
		return fTarget
	case "ExtendedProperties":
		return fExtendedProperties
	case "ModifiedProperties":
		return fModifiedProperties
	case "DeviceProperties":
		return fDeviceProperties
	case "Parameters":
		return fParameters
	case "AppAccessContext":
		return fAppAccessContext
	case "TokenObjectId":
		return fTokenObjectID
	case "ApplicationId":
		return fApplicationID
	case "AppId":
		return fAppID
	case "ClientAppId":
		return fClientAppID
	case "ApplicationDisplayName":
		return fApplicationDisplayName
	case "ApplicationName":
		return fApplicationName
	case "SessionId":
		return fSessionID
	case "UniqueTokenId":
		return fUniqueTokenID
	case "ClientRequestId":
		return fClientRequestID
	case "InterSystemsId":
		return fInterSystemsID
	case "CorrelationId":
		return fCorrelationID
	case "IncidentId":
		return fIncidentID
	case "AlertId":
		return fAlertID
	case "InvestigationId":
		return fInvestigationID
	case "ErrorNumber":
		return fErrorNumber
	case "ErrorCode":
		return fErrorCode
	case "LogonError":
		return fLogonError
	case "ResultStatusDetail":
		return fResultStatusDetail
	case "ResultMessage":
		return fResultMessage
	case "FailureReason":
		return fFailureReason
	case "IsSuccess":
		return fIsSuccess
	case "MailboxOwnerUPN":
		return fMailboxOwnerUPN
	case "MailboxGuid":
		return fMailboxGuid
	case "SendAsUserSmtp":
		return fSendAsUserSmtp
	case "SendOnBehalfOfUserSmtp":
		return fSendOnBehalfOfUserSmtp
	case "Item":
		return fItem
	case "AffectedItems":
		return fAffectedItems
	case "Folders":
		return fFolders
	case "Messages":
		return fMessages
	case "recipientList":
		return fRecipientList
	case "ModifiedObjectResolvedName":
		return fModifiedObjectResolvedName
	case "P1Sender":
		return fP1Sender
	case "P2Sender":
		return fP2Sender
	case "Sender":
		return fSender
	case "Recipients":
		return fRecipients
	case "Recipient":
		return fRecipient
	case "Receivers":
		return fReceivers
	case "Subject":
		return fSubject
	case "InternetMessageId":
		return fInternetMessageID
	case "NetworkMessageId":
		return fNetworkMessageID
	case "Directionality":
		return fDirectionality
	case "PolicyAction":
		return fPolicyAction
	case "Verdict":
		return fVerdict
	case "ExchangeDetails":
		return fExchangeDetails
	case "SourceFileName":
		return fSourceFileName
	case "SourceFileExtension":
		return fSourceFileExtension
	case "SourceRelativeUrl":
		return fSourceRelativeURL
	case "SiteUrl":
		return fSiteURL
	case "ItemType":
		return fItemType
	case "ListItemUniqueId":
		return fListItemUniqueID
	case "DestinationFileName":
		return fDestinationFileName
	case "DestinationRelativeUrl":
		return fDestinationRelativeURL
	case "TargetUserOrGroupName":
		return fTargetUserOrGroupName
	case "UserSharedWith":
		return fUserSharedWith
	case "TeamName":
		return fTeamName
	case "TeamGuid":
		return fTeamGuid
	case "AADGroupId":
		return fAADGroupID
	case "Members":
		return fMembers
	case "GroupName":
		return fGroupName
	case "AddOnName":
		return fAddOnName
	case "AddOnGuid":
		return fAddOnGuid
	case "AppName":
		return fAppName
	case "MessageId":
		return fMessageID
	case "WorkSpaceName":
		return fWorkSpaceName
	case "WorkspaceId":
		return fWorkspaceID
	case "DatasetName":
		return fDatasetName
	case "DatasetId":
		return fDatasetID
	case "CrmOrganizationUniqueName":
		return fCrmOrganizationUniqueName
	case "InstanceUrl":
		return fInstanceURL
	case "EntityName":
		return fEntityName
	case "Query":
		return fQuery
	case "QueryText":
		return fQueryText
	case "PolicyDetails":
		return fPolicyDetails
	case "SharePointMetaData":
		return fSharePointMetaData
	case "ExchangeMetaData":
		return fExchangeMetaData
	case "EndpointMetaData":
		return fEndpointMetaData
	case "RiskId":
		return fRiskID
	case "Name":
		return fName
	case "PolicyId":
		return fPolicyID
	case "Status":
		return fStatus
	case "Severity":
		return fSeverity
	case "Category":
		return fCategory
	case "Comments":
		return fComments
	case "AlertEntityId":
		return fAlertEntityID
	case "EntityType":
		return fEntityType
	case "Url":
		return fURL
	case "URL":
		return fURLUpper
	case "RiskLevel":
		return fRiskLevel
	case "CopilotEventData":
		return fCopilotEventData
	case "MembershipInformation":
		return fMembershipInformation
	case "ChannelName":
		return fChannelName
	case "ChannelGuid":
		return fChannelGuid
	case "FormName":
		return fFormName
	case "FormId":
		return fFormID
	case "ItemName":
		return fItemName
	}
	return fUnknown
}
