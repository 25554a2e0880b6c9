#!/usr/bin/env bash
# The go-office365 collector of devodev, as it is at one commit, against a running m365sim: its own client starts the subscriptions, lists
# the week and loads and decodes every blob. Its module path ends in /v0, which the module proxy refuses, so it is built from its repository;
# GO_OFFICE365 may name a copy of that.
#   go_office365.sh URL CA TENANT      exit 77: the repository cannot be had
set -euo pipefail
url=$1 ca=$2 tenant=$3
commit=95872af67c4ead04ef9be8eb4cda2db187ed77ec
src=$(mktemp -d)
trap 'rm -rf "$src"' EXIT
git clone -q --no-checkout "${GO_OFFICE365:-https://github.com/devodev/go-office365}" "$src" 2>/dev/null || {
  echo "no copy of go-office365 to be had" >&2
  exit 77
}
cd "$src"
git checkout -q "$commit"
mkdir simtest
cat >simtest/main.go <<'GO'
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/ioutil"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/devodev/go-office365/v0/pkg/office365"
	"github.com/devodev/go-office365/v0/pkg/office365/schema"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	base, ca, tenant := os.Args[1], os.Args[2], os.Args[3]
	pemText, err := ioutil.ReadFile(ca)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pemText)
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, plain)
	conf := clientcredentials.Config{
		ClientID: "8d1f2c3a-0b4e-4a55-9c66-7d7788990a0b", ClientSecret: "simulator-secret", TokenURL: base + "/" + tenant + "/oauth2/token?api-version=1.0",
		EndpointParams: url.Values{"resource": {"https://manage.office.com"}},
	}
	c := office365.NewClient(conf.Client(ctx), tenant, "")
	c.BaseURL, err = url.Parse(base)
	check(err)
	blobs, records, extended, refused := map[string]bool{}, 0, 0, 0
	now := time.Now().UTC()
	for _, name := range []string{"Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"} {
		ct, err := schema.GetContentType(name)
		check(err)
		_, _, err = c.Subscription.Start(ctx, ct, nil)
		check(err)
		for day := 7; day > 0; day-- {
			// Its windows are cut to minutes and must not begin before the last seven days.
			from, to := now.Add(-time.Duration(day)*24*time.Hour+2*time.Minute), now.Add(-time.Duration(day-1)*24*time.Hour+2*time.Minute)
			if day == 1 {
				to = now.Add(time.Minute)
			}
			_, list, err := c.Content.List(ctx, ct, from, to)
			check(err)
			for _, b := range list {
				if blobs[b.ContentID] {
					continue
				}
				blobs[b.ContentID] = true
				_, got, err := c.Audit.List(ctx, b.ContentID, true)
				if err != nil {
					refused++ // it decodes strictly, and some records have a time that is none
					continue
				}
				records += len(got)
				for _, r := range got {
					if _, basic := r.(schema.AuditRecord); !basic {
						extended++
					}
				}
			}
		}
	}
	_, subs, err := c.Subscription.List(ctx)
	check(err)
	fmt.Printf("go-office365: %d subscriptions, %d blobs, %d records, %d of them in its schemas; %d blobs that it cannot decode\n", len(subs), len(blobs), records, extended, refused)
	if len(subs) != 5 || len(blobs) < 100 || records < 1000 || extended < 1000 || refused > len(blobs)/10 {
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
GO
go build -mod=mod -o simtest/simtest ./simtest
simtest/simtest "$url" "$ca" "$tenant"
