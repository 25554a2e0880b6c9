// Package m365 is a client of the Office 365 Management Activity API that trusts nothing it is sent.
//
// Every call carries the token to the configured host only, every answer is bounded, and every failure is an *APIError that knows
// its class (what a caller should do) and its remedy (what an operator should do). Splitter cuts a content blob into the exact
// bytes of its records without building a tree.
package m365
