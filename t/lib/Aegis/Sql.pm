# Aegis::Sql: calls the set-based statements of sql/functions as C does, with
# items as hashes, so that suites can test them without a gateway.
# Invariant: columns and their types come from statements.def and columns.def;
# no list of them is kept here.
package Aegis::Sql;

use v5.36;
use Digest::SHA 'sha256_hex';
use Aegis::Def;
use Aegis::Test;

my %type = map { $_->[0] => $_->[1] } def_rows('columns', 'AEGIS_COLUMN');
my %stmt = map { $_->[0] => { function => $_->[1], kind => $_->[2],
                              columns => [ $_->[3] =~ /AEGIS_C\((\w+)\)/g ] } }
    def_rows('statements', 'AEGIS_STMT');

# The last argument of statements that may wake the relay.
our $notify = 'false';

# What a request would bring along, for the columns that an item leaves out.
sub defaults ($item) {
    my $key = $item->{key} // new_key();
    return { tenant => 'acme', principal => 'tester', key => $key,
             hash => '\x' . sha256_hex(json_encode({ map { $_ => $item->{$_} } grep { $_ ne 'key' } keys %$item })),
             title => 'a case', kind => 'incident', severity => 'warning', mode => 'auto',
             tags => '[]', labels => '{}', actor => 'tester', reason => '', correlation_id => '',
             traceparent => '00-' . ('ab' x 16) . '-' . ('cd' x 8) . '-01', request_id => 'req-1',
             meta => '{}', %$item, key => $key };
}

# A statement over items, as text, and what to bind to it.
sub text ($id, @items) {
    my $s = $stmt{$id} or die "no statement $id";
    my @full = map { defaults($_) } @items;
    my ($n, @bind, @params) = (0);
    for my $c (@{ $s->{columns} }) {
        push @params, '$' . ++$n . "::text[]::$type{$c}\[]";
        push @bind, [ map { $_->{$c} } @full ];
    }
    if ($s->{kind} eq 'WRITE_NOTIFY') { push @params, $notify }
    return ("SELECT ord, status, code, version, body, extra FROM aegis.$s->{function}("
        . join(', ', @params) . ') ORDER BY ord', @bind);
}

# Run a statement over items; rows in item order. notify defaults to false.
sub call ($dbh, $id, @items) {
    my ($sql, @bind) = text($id, @items);
    my $sth = $dbh->prepare_cached($sql, { pg_server_prepare => 0 });
    $sth->execute(@bind);
    return @{ $sth->fetchall_arrayref({}) };
}

sub columns ($id) { return @{ $stmt{$id}{columns} } }

1;
