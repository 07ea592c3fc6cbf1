package main

import (
	"net/http"

	"gatehouse/event"
	"gatehouse/ingest"
	"gatehouse/query"
)

// object is a piece of an OpenAPI document.
type object = map[string]any

// intakeOperations describe the routes by which events come in, and those that
// watch over the server; package query describes its own.
func intakeOperations() []query.Operation {
	text := func(description string) object {
		return object{"description": description, "content": object{"application/json": object{"schema": object{
			"type": "object", "required": []string{"message", "status"},
			"properties": object{
				"message": object{"type": "string"},
				"status":  object{"type": "string", "enum": []string{"success", "error"}},
				"field":   object{"type": "string", "description": "the field that was wrong"},
			},
		}}}}
	}
	refusals := func(more object) object {
		out := object{
			"400": text("A field is wrong; its name is in field. Do not send the same again."),
			"401": text("No API key provided, Invalid API key, or API key has been disabled."),
			"403": text("The key lacks the scope ingest."),
			"408": text("The body came too slowly."),
			"413": text("Larger than the limit that the message names. Nothing was taken."),
			"415": text("An encoding other than gzip or zstd."),
			"429": text("Over the key's rate. Send again after Retry-After seconds."),
			"503": text("The spool is full, or the server stops. Send again after Retry-After seconds."),
		}
		for status, answer := range more {
			out[status] = answer
		}
		return out
	}
	result := object{"type": "object", "properties": object{
		"index":   object{"type": "integer", "description": "of the record in the request, from 0"},
		"status":  object{"type": "string", "enum": []string{"accepted", "duplicate", "rejected"}},
		"field":   object{"type": "string"},
		"message": object{"type": "string"},
	}}
	health := object{"description": "The server lives.", "content": object{"application/json": object{"schema": object{"type": "object"}}}}
	one := eventSchema()
	return []query.Operation{
		{
			Method: http.MethodPost, Path: ingest.PathLogEvent, ID: "logEvent", Tag: "events",
			Summary:     "Send one event",
			Description: "2xx means that the event is on disk. Names of fields are read without regard to case; unknown ones are ignored.",
			RequestBody: object{"required": true, "content": object{"application/json": object{"schema": one}}},
			Responses: refusals(object{
				"201": text("Event logged successfully"),
				"200": text("Event already recorded"),
			}),
		},
		{
			Method: http.MethodPost, Path: ingest.PathEvents, ID: "sendEvents", Tag: "events",
			Summary:     "Send many events",
			Description: "JSON, NDJSON or an Arrow IPC stream, also packed with gzip or zstd. Valid records are taken even when others are refused.",
			Parameters: []object{{
				"name": "results", "in": "query", "schema": object{"type": "string", "enum": []string{"all"}},
				"description": "all lists the accepted records too",
			}},
			RequestBody: object{"required": true, "content": object{
				"application/json":                    object{"schema": object{"oneOf": []object{one, {"type": "array", "items": one}}}},
				"application/x-ndjson":                object{"schema": object{"type": "string", "description": "one event a line"}},
				"application/vnd.apache.arrow.stream": object{"schema": object{"type": "string", "contentEncoding": "binary"}},
			}},
			Responses: refusals(object{"200": object{"description": "What became of each record", "content": object{"application/json": object{"schema": object{
				"type": "object", "properties": object{
					"status":   object{"type": "string", "enum": []string{"success", "error"}, "description": "error: every record was rejected"},
					"accepted": object{"type": "integer"}, "duplicate": object{"type": "integer"},
					"rejected": object{"type": "integer"}, "results": object{"type": "array", "items": result},
				},
			}}}}}),
		},
		{
			Method: http.MethodPost, Path: ingest.PathHealth, ID: "health", Tag: "about", NoAuth: true,
			Summary: "Does the server take events, and is this key good", Responses: object{"200": health},
		},
		{
			Method: http.MethodGet, Path: ingest.PathHealth, ID: "healthGet", Tag: "about", NoAuth: true,
			Summary: "The same, for monitors that only GET", Responses: object{"200": health},
		},
		{Method: http.MethodGet, Path: "/healthz", ID: "live", Tag: "about", NoAuth: true, Summary: "The process lives", Responses: object{"200": health}},
		{
			Method: http.MethodGet, Path: "/readyz", ID: "ready", Tag: "about", NoAuth: true,
			Summary: "Events can be taken; each part that fails is named", Responses: object{"200": health, "503": text("The parts that are not ready are named.")},
		},
		{
			Method: http.MethodGet, Path: "/metrics", ID: "metrics", Tag: "about", NoAuth: true,
			Summary: "Metrics for Prometheus, to this machine alone", Responses: object{
				"200": object{"description": "The metrics", "content": object{"text/plain": object{"schema": object{"type": "string"}}}},
				"404": object{"description": "Asked from another machine"},
			},
		},
	}
}

// eventSchema describes one event by the fields that the intake reads.
func eventSchema() object {
	properties := object{}
	for f := range event.NumFields {
		properties[f.String()] = eventValue("")
	}
	properties[event.FieldEventType.String()] = eventValue("What happened. Not needed with an EventID of Windows that tells it.")
	properties[event.FieldUserName.String()] = eventValue("Who. Not needed for what befalls a computer, with an EventID (Windows has records without a name), and beside a SID.")
	properties["IPAddress"] = eventValue("Another name of LocalIP.")
	return object{
		"type": "object", "required": []string{"ComputerName", "Timestamp"},
		"anyOf":      []object{{"required": []string{"EventType"}}, {"required": []string{"EventID"}}},
		"properties": properties, "additionalProperties": true,
	}
}

func eventValue(description string) object {
	out := object{"type": []string{"string", "number", "boolean", "null"}}
	if description != "" {
		out["description"] = description
	}
	return out
}
