# Aegis::Def: reads the tables of core/tables without a C compiler, so that a
# test can hold SQL, documents and binaries against them.
# Invariant: a row that cannot be read is an error, never skipped.
package Aegis::Def;

use v5.36;
use Exporter 'import';
use Aegis::Test qw(root slurp);

our @EXPORT = qw(def_rows def_blocks);

# The rows of one macro: arrays of arguments. Strings lose their quotes, and
# adjacent strings are joined as C does.
sub def_rows ($table, $macro) {
    my @rows;
    for my $b (def_blocks($table)) {
        my ($name, @args) = @$b;
        push @rows, \@args if $name eq $macro;
    }
    die "core/tables/$table.def has no $macro row" unless @rows;
    return @rows;
}

# Every row of a table as [macro, arguments...].
sub def_blocks ($table) {
    my $text = slurp(root . "/core/tables/$table.def");
    $text =~ s{/\*.*?\*/}{}gs;
    my @out;
    pos($text) = 0;
    while (1) {
        $text =~ /\G\s+/gc;
        last if pos($text) >= length $text;
        $text =~ /\G(AEGIS_\w+)\s*\(/gc
            or die "core/tables/$table.def: cannot read: "
                . substr($text, pos($text), 40);
        push @out, [$1, _args(\$text, $table)];
    }
    return @out;
}

sub _args ($text, $table) {
    my ($depth, $cur, @args) = (0, '');
    while (1) {
        if ($$text =~ /\G("(?:[^"\\]|\\.)*")/gc) { $cur .= $1 }
        elsif ($$text =~ /\G\(/gc) { $depth++; $cur .= '(' }
        elsif ($$text =~ /\G\)/gc) {
            if ($depth-- == 0) { push @args, _value($cur); return @args }
            $cur .= ')';
        }
        elsif ($$text =~ /\G,/gc) {
            if ($depth) { $cur .= ',' } else { push @args, _value($cur); $cur = '' }
        }
        elsif ($$text =~ /\G([^"(),]+)/gc) { $cur .= $1 }
        else { die "core/tables/$table.def: a row does not end" }
    }
}

sub _value ($raw) {
    $raw =~ s/^\s+|\s+$//g;
    return $raw unless $raw =~ /^"/;
    my $out = '';
    while ($raw =~ /"((?:[^"\\]|\\.)*)"/g) {
        my $s = $1;
        $s =~ s/\\(.)/$1 eq 'n' ? "\n" : $1 eq 't' ? "\t" : $1/ge;
        $out .= $s;
    }
    return $out;
}

1;
