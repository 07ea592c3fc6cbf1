// Package dashboards is what a browser gets: a page that shows reports to
// whoever has an API key with the scope read.
//
// The page is static. It asks the HTTP API as every other client does, with the
// key that the analyst pastes, so that no right of its own stands behind it and
// nothing of a company is ever rendered on the server. Its parameters come from
// the API's OpenAPI description: a new report or parameter needs no change here.
//
// Left to others: the reports themselves (query) and who may read them.
package dashboards
