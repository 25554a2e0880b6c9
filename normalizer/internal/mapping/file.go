package mapping

import (
	"strings"

	"millrace/pkg/ocsf"
)

// fileHosting fills class 6006.
func (w *worker) fileHosting() {
	e, r := &w.ev, &w.record
	object := r.take(fObjectID)
	kind := fileType(r.take(fItemType))
	f := ocsf.File{
		Name: r.take(fSourceFileName), TypeID: kind, Ext: r.take(fSourceFileExtension), Path: object,
		ParentFolder: r.take(fSourceRelativeURL), UID: r.take(fListItemUniqueID),
	}
	if f.Name == "" {
		if f.Name = lastPart(object); f.Name == "" {
			f.Name = w.operationText()
		}
	}
	f.URL.URLString = object
	e.File = f
	if name := r.take(fDestinationFileName); name != "" {
		e.FileResult = ocsf.File{Name: name, TypeID: kind, Path: w.destination(name)}
	}
	switch e.Activity.ID() {
	case ocsf.FileHostingShare, ocsf.FileHostingUnshare:
		for _, field := range [...]field{fTargetUserOrGroupName, fUserSharedWith} {
			if s := r.take(field); s != "" {
				e.AccessList = append(e.AccessList, s)
			}
		}
	}
	if refused(w.op) {
		e.Metadata.Profiles = profilesSecurity
		e.ActionID, e.DispositionID = ocsf.Value(ocsf.ActionDenied), ocsf.Value(ocsf.DispositionBlocked)
		e.IsAlert = ocsf.False
	}
}

// destination is the address of the file that a move, copy or renaming made.
func (w *worker) destination(name string) string {
	r := &w.record
	site, folder := r.text(fSiteURL), r.text(fDestinationRelativeURL)
	if folder == "" {
		return ""
	}
	r.use(fDestinationRelativeURL)
	start := len(r.arena)
	b := r.arena
	if site != "" {
		b = append(append(b, strings.TrimSuffix(site, "/")...), '/')
	}
	b = append(append(append(b, folder...), '/'), name...)
	r.arena = b
	return view(b[start:])
}

func fileType(item string) ocsf.Enum {
	switch item {
	case "File":
		return ocsf.Value(ocsf.FileTypeRegularFile)
	case "Folder":
		return ocsf.Value(ocsf.FileTypeFolder)
	case "":
		return ocsf.Value(ocsf.FileTypeUnknown)
	}
	return ocsf.OtherValue(item)
}

// lastPart is what follows the last separator of a path or an address.
func lastPart(s string) string {
	s = strings.TrimRight(s, `/\`)
	return s[strings.LastIndexAny(s, `/\`)+1:]
}
