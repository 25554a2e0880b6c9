package mapping

import (
	"millrace/pkg/ocsf"
)

// apiActivity fills class 6003, the class of everything that has none of its own.
func (w *worker) apiActivity() {
	e := &w.ev
	if t := w.target(); t.some() {
		w.wrote(t)
		e.Resources = append(e.Resources, ocsf.ResourceDetails{Name: t.name, UID: t.uid, Type: w.resourceType()})
	}
	if w.record.get(fCopilotEventData) != nil {
		w.copilot()
	}
}

// copilot fills what a conversation with an AI model read, and the model.
func (w *worker) copilot() {
	e, r := &w.ev, &w.record
	c := cursor{raw: path(r.structure(fCopilotEventData), "AccessedResources")}
	for c.element() {
		res := ocsf.ResourceDetails{
			Name: r.textOf(find(c.value, "Name")), UID: r.textOf(find(c.value, "Id")), Type: r.textOf(find(c.value, "Type")),
		}
		if res.Name == "" {
			res.Name = r.textOf(find(c.value, "SiteUrl"))
		}
		if res.Name == "" && res.UID == "" {
			continue
		}
		if len(e.Resources) >= maxResources {
			e.Metadata.IsTruncated = ocsf.True
			break
		}
		e.Resources = append(e.Resources, res)
	}
	models := cursor{raw: path(r.structure(fCopilotEventData), "ModelTransparencyDetails")}
	for models.element() {
		name := r.textOf(find(models.value, "ModelName"))
		if name == "" {
			continue
		}
		provider := r.textOf(find(models.value, "ModelProviderName"))
		if provider == "" {
			provider = "Microsoft" // required; the service that offers the model is Microsoft's
		}
		e.AIModel = ocsf.AIModel{Name: name, AIProvider: provider, Version: r.textOf(find(models.value, "ModelVersion"))}
		e.Metadata.Profiles = profilesAI
		break
	}
}
