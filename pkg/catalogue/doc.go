// Package catalogue says what events of a product look like: its event types with their schemas and examples,
// and profiles, which are a whole product's types with the policy and the payload that belong to them.
//
// Schemas are JSON Schema 2020-12. They come from customers and are checked against events of others while
// these wait, so both are bounded: a schema in size, depth and number of parts (Compile), and one check in
// its steps (Schema.Check), which no schema and no event can exceed, however they are made for one another.
// Patterns are RE2; nothing is loaded from anywhere.
package catalogue
