# Aegis::Invariants: runs t/sql/invariants/*.sql on a database and holds the
# ledgers that they compare with: what clients were answered, what the brokers
# hold, what scripts did.
# Invariant: every query must return no row; a row is shown in the failure.
package Aegis::Invariants;

use v5.36;
use Digest::SHA 'sha256_hex';
use Test::More ();
use Time::HiRes qw(time);
use Aegis::Test;

sub new ($class, $dbh) {
    $dbh->do('SET client_min_messages = warning');
    $dbh->do(slurp(root . '/t/sql/ledger.sql'));
    return bless { dbh => $dbh, n => {} }, $class;
}

sub queries ($class_or_self) {
    return map { { name => m{([^/]+)\.sql$}, file => $_, sql => slurp($_) } }
        sort glob root . '/t/sql/invariants/*.sql';
}

# An answer of Aegis::Http to a write, and when it came.
sub client ($self, $tenant, $key, $route, $r, $at = time) {
    $self->{n}{t_client}++;
    $self->{dbh}->do('INSERT INTO t_client VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, to_timestamp(?))', undef, $tenant, $key,
        $route, $r->status, $r->problem, sha256_hex($r->body // ''), $r->header('etag') // '',
        $r->header('location') // '', $r->json->{case_id}, $r->json->{version}, $at);
}

# A case's version that was read between two times.
sub read ($self, $tenant, $case_id, $version, $from, $to) {
    $self->{n}{t_read}++;
    $self->{dbh}->do('INSERT INTO t_read VALUES (?, ?, ?, to_timestamp(?), to_timestamp(?))', undef, $tenant, $case_id, $version, $from, $to);
}

# A CloudEvents message out of a broker's log, as a row of t_bus.
sub _message ($log, $seq, $body) {
    my $e = eval { json_decode($body) };
    return unless ref $e eq 'HASH' && defined $e->{id};     # somebody's poison, not ours
    my $data = ref $e->{data} eq 'HASH' ? $e->{data} : {};
    return [$log, $seq, $e->{id}, $e->{type} // '', $e->{tenant} // '',
        ($data->{case_id} // '') =~ /^[0-9a-f-]{36}$/ ? $data->{case_id} : undef, $data->{case_version}];
}

# Many of them: [log, seq, body].
sub bus ($self, @messages) {
    my $dbh = $self->{dbh};
    $dbh->do('COPY t_bus FROM STDIN');
    for my $row (map { _message(@$_) } @messages) {
        $self->{n}{t_bus}++;
        $dbh->pg_putcopydata(join("\t", map { defined ? s/([\\\t\n\r])/sprintf '\\x%02x', ord $1/ger : '\\N' } @$row) . "\n");
    }
    $dbh->pg_putcopyend;
}

# All that JetStream holds in the streams of streams.def, but what was read before.
sub bus_nats ($self, $nats) {
    require Aegis::Def;
    for my $row (Aegis::Def::def_rows('streams', 'AEGIS_STREAM')) {
        my $name = $row->[1];
        my @m = $nats->messages($name, $self->{read}{$name}) or next;
        $self->bus(map { [$name, $_->{seq}, $_->{body}] } @m);
        $self->{read}{$name} = $m[-1]{seq} + 1;
    }
}

# Lines "<topic> <partition> <offset> <value>" as kcat writes them.
sub bus_kafka ($self, $text) {
    $self->bus(map { my ($topic, $part, $offset, $body) = split / /, $_, 4; ["$topic/$part", $offset, $body] } split /\n/, $text);
}

# Lines "<exec_id> <phase> <step_no> <attempt>" that a script appended.
sub effects ($self, $text) {
    for my $line (split /\n/, $text) {
        $self->{n}{t_effect}++;
        $self->{dbh}->do('INSERT INTO t_effect VALUES (?, ?, ?, ?)', undef, split / /, $line);
    }
}

# Run all, or those whose names are given (I01, ...). Each is a test.
sub check ($self, %opt) {
    my $ok = 1;
    for my $q ($self->queries) {
        next if $opt{only} && !grep { $q->{name} =~ /^\Q$_\E/ } @{ $opt{only} };
        my $rows = $self->{dbh}->selectall_arrayref($q->{sql}, { Slice => {} });
        $ok &= Test::More::is(scalar @$rows, 0, "invariant $q->{name} returns no row")
            || do { Test::More::diag(json_encode($_)) for @$rows[0 .. ($#$rows < 4 ? $#$rows : 4)]; 0 };
    }
    return $ok;
}

# The rows of all, as text: what each of them has found.
sub violations ($self) {
    my @bad;
    for my $q ($self->queries) {
        push @bad, map { "$q->{name}: " . json_encode($_) } @{ $self->{dbh}->selectall_arrayref($q->{sql}, { Slice => {} }) };
    }
    return @bad;
}

# Those that the statements alone can be held against, without a broker.
sub rows_of ($self, $name) {
    my ($q) = grep { $_->{name} =~ /^\Q$name\E/ } $self->queries;
    return $self->{dbh}->selectall_arrayref($q->{sql}, { Slice => {} });
}

1;
