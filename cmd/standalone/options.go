package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// options is the command line.
type options struct {
	once        bool
	records     int
	seed        uint64
	dir         string
	kafka       string
	prefix      string
	partitions  int
	config      string
	acceptRisk  bool
	imports     []string
	tenant      string
	dump        string
	dumpHeaders bool
	verbose     bool
	tamper      string // see tamper.go
	cpuProfile  string
}

const usage = `Runs all of Millrace in one process, for trying it out.

  standalone                      a simulated tenant, an embedded broker, all three stages; stays up until Ctrl-C
  standalone -once                carries a week of the tenant's history, proves record by record that nothing was lost or
                                  repeated, and ends: exit code 0 only if the proof holds
  standalone -once -import FILE…  the same with exported audit records: Purview CSV (AuditData column), Search-UnifiedAuditLog
                                  JSON, a JSON array or NDJSON of records, each also gzipped

The embedded broker listens on 127.0.0.1 only. It is for trying out: a process that is killed loses and repeats nothing, but there is
one copy, and nothing is forced to the disk, so that a power failure may take what was acknowledged. -kafka names a real cluster.

`

// parse reads the command line. Flags and file names may be mixed, so that -import *.ndjson -once works.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	var first string
	fs := flag.NewFlagSet("standalone", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() {
		_, _ = io.WriteString(out, usage)
		fs.PrintDefaults()
	}
	fs.BoolVar(&o.once, "once", false, "carry all that the tenant has, print the proof, end")
	fs.IntVar(&o.records, "records", 20_000, "size of the simulated tenant's week, in records")
	fs.Uint64Var(&o.seed, "seed", 1, "seed that the simulated tenant is made from")
	fs.StringVar(&o.dir, "data", "", "folder that keeps broker, simulator and tenant over restarts (default: a temporary one)")
	fs.StringVar(&o.kafka, "kafka", "", "bootstrap addresses of a Kafka cluster, host:port,… (default: the embedded broker)")
	fs.StringVar(&o.prefix, "prefix", "m365", "prefix of topics, groups and transactional ids")
	fs.IntVar(&o.partitions, "partitions", 4, "partitions of each topic; for life")
	fs.StringVar(&o.config, "config", "", "ingester configuration of a real tenant, instead of the simulator")
	fs.BoolVar(&o.acceptRisk, "accept-embedded-broker-risk", false, "run a real tenant on the embedded broker, though it keeps one copy and a power failure may take records")
	fs.StringVar(&first, "import", "", "exported audit records to carry, instead of a tenant; more files may follow")
	fs.StringVar(&o.tenant, "tenant", "", "tenant id for -import (default: OrganizationId of the first record that has one, in each file; all zeros where none has)")
	fs.StringVar(&o.dump, "dump", "", "with -once: folder to write each topic's committed records to, as NDJSON")
	fs.BoolVar(&o.dumpHeaders, "dump-headers", false, "with -dump: write key, headers and value")
	fs.BoolVar(&o.verbose, "v", false, "log what the stages do, to standard error")
	fs.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of the run to this file")
	fs.StringVar(&o.tamper, "tamper", "", "with -once: damage one record, to see the proof fail: raw, event or enriched, a colon, and drop, repeat or alter")
	rest := args
	for {
		if err := fs.Parse(rest); err != nil {
			return o, err
		}
		rest = fs.Args()
		if len(rest) == 0 {
			break
		}
		o.imports, rest = append(o.imports, rest[0]), rest[1:]
	}
	if first != "" {
		o.imports = slices.Insert(o.imports, 0, first)
	} else if len(o.imports) > 0 {
		return o, fmt.Errorf("what is %q? Files to import follow -import", o.imports[0])
	}
	return o, o.validate()
}

func (o options) validate() error {
	switch {
	case o.records < 1:
		return errors.New("-records: use 1 or more")
	case o.partitions < 1 || o.partitions > 1000:
		return errors.New("-partitions: use 1 to 1000")
	case o.config != "" && len(o.imports) > 0:
		return errors.New("-config and -import: choose one source of records")
	case o.config != "" && o.once:
		return errors.New("-once needs a source with an end: the simulated tenant or -import; a real tenant goes on living")
	case o.config != "" && o.kafka == "" && !o.acceptRisk:
		return errors.New("-config runs a real tenant, and the embedded broker keeps one copy that a power failure may damage: " +
			"name a cluster with -kafka, or accept that with -accept-embedded-broker-risk")
	case o.dump != "" && !o.once:
		return errors.New("-dump needs -once: a dump is made when everything has been carried")
	case o.tamper != "" && (!o.once || o.kafka != ""):
		return errors.New("-tamper is for -once on the embedded broker: it damages a record")
	case o.dumpHeaders && o.dump == "":
		return errors.New("-dump-headers needs -dump DIR")
	}
	return nil
}

func (o options) brokers() []string {
	if o.kafka == "" {
		return nil
	}
	return strings.Split(o.kafka, ",")
}
