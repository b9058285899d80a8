// Package modeljson reads JSON that a model wrote.
//
// [Decode] is strict. It refuses all that two readers may take for different values: a key that occurs twice in one
// object, half of a surrogate pair, invalid UTF-8. [Read] also repairs, but only faults of notation. A repair never
// changes a value and never closes an open string, array or object:
//
//	repaired   comments; trailing commas; a comma missing before a quoted key, or between objects or arrays of an array;
//	           single and curly quotes; keys without quotes; line breaks and tabs inside strings; True, False, None
//	refused    everything cut; NaN, undefined; 01, .5, 1e, 0x10, 1_000; text without quotes; "a" + "b"; "a" "b";
//	           unknown escapes; ellipses; calls such as ObjectId("…"); missing values, colons and brackets
//
// Time and memory are linear in the text. Nesting ends at 1,000 levels.
package modeljson
