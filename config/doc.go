// Package config turns the environment into checked options.
//
// [Table] is the single list of variables: their names, defaults and meanings.
// The reading of a variable takes its default from its row, `postrider run
// --help` prints the rows, and the README shows them.
//
// The names and meanings of the Trigger Email extension's variables are its
// own. A variable that is not set has its default. One of the extension's that
// is set to nothing is as good as not set, as it is for the extension, whose
// console leaves empty what is not filled in; one of ours that is set to
// nothing is a fault. Whatever is wrong or doubtful stops the start: [Load]
// reports every fault at once, each with its remedy, and never the value of a
// secret.
package config
