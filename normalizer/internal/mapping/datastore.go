package mapping

import "millrace/pkg/ocsf"

// datastore fills class 6005: Dataverse, datasets of Power BI, queries over a data lake.
func (w *worker) datastore() {
	e, r := &w.ev, &w.record
	e.TypeID = ocsf.Value(ocsf.TypeDatabase)
	switch name, url := r.take(fCrmOrganizationUniqueName), r.take(fInstanceURL); {
	case name != "" || url != "":
		e.Database = ocsf.Database{Name: name, UID: url, TypeID: ocsf.Value(ocsf.DatabaseTypeRelational)}
	default:
		e.Database = ocsf.Database{Name: r.take(fDatasetName), UID: r.take(fDatasetID), TypeID: ocsf.OtherValue("Dataset")}
	}
	if e.Database.Name == "" && e.Database.UID == "" {
		t := w.target()
		e.Database.Name, e.Database.UID = t.name, t.uid
		e.Database.TypeID = ocsf.Value(ocsf.DatabaseTypeUnknown)
		w.wrote(t)
		if !t.some() {
			e.Database.Name = w.service()
		}
	}
	if e.Table.Name = r.take(fEntityName); e.Table.Name != "" {
		e.TypeID = ocsf.Value(ocsf.TypeTable)
	}
	if q := r.takeFirst(fQuery, fQueryText); q != "" {
		e.QueryInfo = ocsf.QueryInfo{QueryString: q, UID: e.Metadata.OriginalEventUID}
	}
}
