# Aegis::BenchPages: list and timeline pages on ten million timeline rows.
package Aegis::BenchPages;

use v5.36;

sub run ($b) { die "not written yet\n" }

1;
