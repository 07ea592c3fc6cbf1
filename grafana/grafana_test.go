package grafana

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/query"
)

const (
	datasourceType = "yesoreyeram-infinity-datasource"
	datasourceUID  = "gatehouse"
)

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name string `json:"name"`
			Type string `json:"type"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID         int        `json:"id"`
	Title      string     `json:"title"`
	Datasource datasource `json:"datasource"`
	GridPos    struct{ X, Y, W, H int }
	Targets    []target `json:"targets"`
	Options    struct {
		XField string `json:"xField"`
		SortBy []struct {
			DisplayName string `json:"displayName"`
		} `json:"sortBy"`
	} `json:"options"`
	FieldConfig struct {
		Overrides []struct {
			Matcher struct {
				ID      string `json:"id"`
				Options string `json:"options"`
			} `json:"matcher"`
		} `json:"overrides"`
	} `json:"fieldConfig"`
}

type target struct {
	Datasource   datasource `json:"datasource"`
	Type         string     `json:"type"`
	Source       string     `json:"source"`
	Parser       string     `json:"parser"`
	URL          string     `json:"url"`
	RootSelector string     `json:"root_selector"`
	Columns      []struct {
		Selector string `json:"selector"`
		Text     string `json:"text"`
		Type     string `json:"type"`
	} `json:"columns"`
	URLOptions struct {
		Method string `json:"method"`
		Params []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"params"`
	} `json:"url_options"`
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	names, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	out := map[string]dashboard{}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = d
	}
	return out
}

// api is the API's own description, as clients get it.
type api struct {
	Paths map[string]struct {
		Get *struct {
			Parameters []struct {
				Name string `json:"name"`
				In   string `json:"in"`
			} `json:"parameters"`
			Responses map[string]struct {
				Content map[string]struct {
					Schema schema `json:"schema"`
				} `json:"content"`
			} `json:"responses"`
		} `json:"get"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"` // a name, or that and "null"
	Format     string            `json:"format"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

func describe(t *testing.T) *api {
	t.Helper()
	raw, err := query.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	a := &api{}
	if err := json.Unmarshal(raw, a); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *api) follow(s schema) schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return a.Components.Schemas[name]
	}
	return s
}

func (s schema) is(kind string) bool {
	if list, ok := s.Type.([]any); ok {
		return slices.Contains(list, any(kind))
	}
	return s.Type == kind
}

// columnType is the type that the data source must be told for a value of the answer.
func (s schema) columnType() []string {
	switch {
	case s.is("integer"), s.is("number"):
		return []string{"number", "string"} // a number may be a name, such as an hour on an axis
	case s.Format == "date-time":
		return []string{"timestamp"}
	case s.is("boolean"):
		return []string{"boolean"}
	}
	return []string{"string"}
}

// rowOf is the type of what a target's root selector chooses: one object for each row.
func (a *api) rowOf(t *testing.T, tg target) (schema, bool) {
	t.Helper()
	item := a.Paths[tg.URL].Get
	if item == nil {
		t.Errorf("%s is not a path of the API", tg.URL)
		return schema{}, false
	}
	answer := a.follow(item.Responses["200"].Content["application/json"].Schema)
	if tg.RootSelector == "" {
		return answer, true
	}
	rows, ok := answer.Properties[tg.RootSelector]
	if !ok || rows.Items == nil {
		t.Errorf("%s has no list %q", tg.URL, tg.RootSelector)
		return schema{}, false
	}
	return a.follow(*rows.Items), true
}

func TestPanelsAskWhatTheAPIAnswers(t *testing.T) {
	t.Parallel()
	a := describe(t)
	asked := map[string]bool{}
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			if len(p.Targets) == 0 {
				t.Errorf("%s: %s asks nothing", name, p.Title)
			}
			for _, tg := range p.Targets {
				t.Run(p.Title, func(t *testing.T) {
					asked[tg.URL] = true
					if tg.Type != "json" || tg.Source != "url" || tg.Parser != "backend" || tg.URLOptions.Method != "GET" {
						t.Errorf("asks in another way: %s %s %s %s", tg.Type, tg.Source, tg.Parser, tg.URLOptions.Method)
					}
					checkParameters(t, a, d, tg)
					row, ok := a.rowOf(t, tg)
					if !ok {
						return
					}
					if len(tg.Columns) == 0 {
						t.Error("no columns")
					}
					for _, c := range tg.Columns {
						s, ok := row.Properties[c.Selector]
						if !ok {
							t.Errorf("%s has no %q", tg.URL, c.Selector)
						} else if !slices.Contains(a.follow(s).columnType(), c.Type) {
							t.Errorf("%s is of type %v, not %s", c.Selector, a.follow(s).columnType(), c.Type)
						}
					}
				})
			}
		}
	}
	for _, want := range []string{"totals", "frequency", "failures", "time-spent", "signed-in", "coverage"} {
		if !asked[query.ReportsPath+want] {
			t.Errorf("no panel shows %s", want)
		}
	}
}

// checkParameters has the API's own parser read what Grafana would send.
func checkParameters(t *testing.T, a *api, d dashboard, tg target) {
	t.Helper()
	var spec *query.Spec
	for _, r := range query.ListReports() {
		if query.ReportsPath+r.Spec.Name == tg.URL {
			spec = r.Spec
		}
	}
	if spec == nil {
		t.Errorf("%s is not a report", tg.URL)
		return
	}
	variables := map[string]string{"__from:date:iso": "2025-05-01T08:00:00.000Z", "__to:date:iso": "2025-05-08T08:00:00.000Z"}
	for _, v := range d.Templating.List {
		variables[v.Name] = "text"
	}
	for _, filled := range []bool{false, true} {
		values := url.Values{}
		for _, p := range tg.URLOptions.Params {
			value := p.Value
			if name, ok := strings.CutPrefix(value, "${"); ok {
				name = strings.TrimSuffix(name, "}")
				var known bool
				if value, known = variables[name]; !known {
					t.Errorf("%s: there is no variable %s", p.Key, name)
				}
				if !filled && !strings.HasPrefix(name, "__") {
					value = "" // as long as nobody has typed anything
				}
			}
			values.Add(p.Key, value)
		}
		if _, err := query.ParseParams(spec, query.Company{ID: 1, Name: "Acme"}, time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), values); err != nil {
			t.Errorf("%s?%s: %v", tg.URL, values.Encode(), err)
		}
		// A panel that does not pass the dashboard's range on shows something else than it says.
		if !values.Has("at") && (!values.Has("from") || !values.Has("to")) {
			t.Errorf("%s is not asked for the dashboard's range", tg.URL)
		}
		for _, p := range a.Paths[tg.URL].Get.Parameters {
			if v := slices.IndexFunc(d.Templating.List, func(v struct {
				Name string `json:"name"`
				Type string `json:"type"`
			},
			) bool {
				return v.Name == p.Name
			}); v >= 0 && !values.Has(p.Name) {
				t.Errorf("%s takes %s, which the dashboard offers and the panel does not pass on", tg.URL, p.Name)
			}
		}
	}
}

func TestPanelsHoldTogether(t *testing.T) {
	t.Parallel()
	uids := map[string]bool{}
	for name, d := range dashboards(t) {
		if d.UID == "" || d.Title == "" || uids[d.UID] {
			t.Errorf("%s: uid %q and title %q must be there, the uid once", name, d.UID, d.Title)
		}
		uids[d.UID] = true
		ids := map[int]bool{}
		for i, p := range d.Panels {
			if ids[p.ID] || p.Title == "" {
				t.Errorf("%s: panel %d (%q) has no title, or an id that is there already", name, p.ID, p.Title)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
				t.Errorf("%s: %s lies outside the grid: %+v", name, p.Title, g)
			}
			for _, q := range d.Panels[:i] {
				o := q.GridPos
				if g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H {
					t.Errorf("%s: %s lies over %s", name, p.Title, q.Title)
				}
			}
			texts := map[string]bool{"": true}
			for _, tg := range p.Targets {
				if want := (datasource{datasourceType, datasourceUID}); tg.Datasource != want || p.Datasource != want {
					t.Errorf("%s: %s asks another data source", name, p.Title)
				}
				for _, c := range tg.Columns {
					texts[c.Text] = true
				}
			}
			used := []string{p.Options.XField}
			for _, s := range p.Options.SortBy {
				used = append(used, s.DisplayName)
			}
			for _, o := range p.FieldConfig.Overrides {
				if o.Matcher.ID == "byName" {
					used = append(used, o.Matcher.Options)
				}
			}
			for _, u := range used {
				if !texts[u] {
					t.Errorf("%s: %s speaks of a column %q that it does not have", name, p.Title, u)
				}
			}
		}
	}
}

func provisioned(t *testing.T, name, list string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	v, err := parseYAML(string(raw))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	top, _ := v.(map[string]any)
	entries, _ := top[list].([]any)
	if top["apiVersion"] != "1" || len(entries) != 1 {
		t.Fatalf("%s: apiVersion %v, %d %s", name, top["apiVersion"], len(entries), list)
	}
	return entries[0].(map[string]any)
}

func TestProvisioning(t *testing.T) {
	t.Parallel()
	ds := provisioned(t, "provisioning/datasources/gatehouse.yaml", "datasources")
	settings, _ := ds["jsonData"].(map[string]any)
	secrets, _ := ds["secureJsonData"].(map[string]any)
	if ds["type"] != datasourceType || ds["uid"] != datasourceUID || ds["url"] != "$GATEHOUSE_URL" {
		t.Errorf("another data source than the dashboards': %v", ds)
	}
	if settings["auth_method"] != "apiKey" || settings["apiKeyKey"] != "X-API-Key" || settings["apiKeyType"] != "header" || secrets["apiKeyValue"] != "$GATEHOUSE_API_KEY" {
		t.Errorf("the key does not come from the environment into the header: %v %v", settings, secrets)
	}
	if hosts, _ := settings["allowedHosts"].([]any); len(hosts) != 1 || hosts[0] != "$GATEHOUSE_URL" {
		t.Errorf("the key may go to %v", hosts)
	}
	provider := provisioned(t, "provisioning/dashboards/gatehouse.yaml", "providers")
	options, _ := provider["options"].(map[string]any)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if path, _ := options["path"].(string); path == "" || !strings.Contains(string(readme), path) {
		t.Errorf("the README does not put the dashboards where Grafana is told to look: %q", options["path"])
	}
}

// Every file of the folder is of a kind that a test here reads.
func TestNothingUnread(t *testing.T) {
	t.Parallel()
	if err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name = filepath.ToSlash(name)
		read := strings.HasSuffix(name, ".go") || name == "README.md" || name == "provisioning/datasources/gatehouse.yaml" ||
			name == "provisioning/dashboards/gatehouse.yaml" || (strings.HasPrefix(name, "dashboards/") && strings.HasSuffix(name, ".json"))
		if !read {
			t.Errorf("no test reads %s", name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
