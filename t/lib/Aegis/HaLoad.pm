# Aegis::HaLoad: clients of a service that may fail over under them: processes
# that write and read without a pause, and try the same key again until there is
# an answer that is one. What each attempt was answered goes into a ledger.
# Invariant: an attempt that was not answered is never taken for one that did
# nothing.
package Aegis::HaLoad;

use v5.36;
use POSIX ();
use Time::HiRes qw(time);
use Digest::SHA 'sha256_hex';
use Aegis::Http;
use Aegis::Test;

# http => an Aegis::Http; clients; tag: of the cases; auto: every n-th case is
# driven by the workers.
sub start ($class, %args) {
    my $self = bless { clients => 6, auto => 8, patience => 60, %args, dir => scratch("load-$args{tag}"), pids => [] }, $class;
    for my $n (1 .. $self->{clients}) {
        my $pid = fork // die "fork: $!";
        if ($pid == 0) {
            eval { $self->_client($n); 1 } or print STDERR "client $n: $@";
            POSIX::_exit(0);
        }
        push @{ $self->{pids} }, $pid;
    }
    return $self;
}

sub _client ($self, $n) {
    $self->{http} = $self->{http}->with;
    open $self->{out}, '>', "$self->{dir}/$n" or die $!;
    $self->{out}->autoflush(1);
    for (my $i = 1; !-e "$self->{dir}/stop"; $i++) {
        my $key = "$self->{tag}-$n-$i";
        my $auto = $i % $self->{auto} == 0;
        my $r = $self->_until(201, 'POST', '/case/create', "$key-a", json => { title => $key, tags => [ $self->{tag} ],
            $auto ? (labels => { service => "s$n", env => 'staging' }) : (mode => 'manual') });
        next if $auto || $r->status != 201;
        my $id = $r->json->{case_id};
        $self->_until(200, 'PATCH', "/case/$id/transition", "$key-b", json => { event => 'force_park' }, if_match => '"1"');
        $self->_until(200, 'GET', "/case/$id", undef);
    }
}

# The same request until it is answered for good.
sub _until ($self, $want, $method, $path, $key, %req) {
    my $began = time;
    my $r;
    for (my $tries = 1; ; $tries++) {
        my $t0 = time;
        my @h = (defined $key ? ('Idempotency-Key', $key) : (), $req{if_match} ? ('If-Match', $req{if_match}) : ());
        $r = eval { $self->{http}->request($method, $path, headers => \@h, $req{json} ? (json => $req{json}) : ()) };
        $self->{http}->close if !$r || !$r->status;
        my $status = $r ? 0 + $r->status : 0;
        print { $self->{out} } json_encode({ t0 => $t0, t1 => time, method => $method, path => $path, key => $key, want => $want,
            status => $status + 0, ($status ? (problem => $r->problem, body => $r->body, etag => $r->header('etag') // '', location => $r->header('location') // '') : ()) }), "\n";
        return $r if $status && $status != 503 && $status != 504 && !($status == 409 && $r->problem eq 'idempotency-key-in-flight');
        return $r // bless { status => 0, headers => [], body => '' }, 'Aegis::Http::Answer' if time - $began > $self->{patience};
        select undef, undef, undef, 0.02 * ($tries < 5 ? $tries : 5);       # a client's own back-off
    }
}

sub stop ($self) {
    return if $self->{stopped}++;
    spew("$self->{dir}/stop", '');
    waitpid $_, 0 for @{ $self->{pids} };
    $self->{ledger} = [ sort { $a->{t1} <=> $b->{t1} } map { map { json_decode($_) } split /\n/, slurp($_) } grep { m{/\d+$} } glob "$self->{dir}/*" ];
}

# What has been written so far, while they go on.
sub writes ($self) {
    my $n = 0;
    for my $f (grep { m{/\d+$} } glob "$self->{dir}/*") { $n += () = slurp($f) =~ /"status":20[01]/g }
    return $n;
}

sub ledger ($self) { return @{ $self->{ledger} } }

# Those that ended in something that nobody should be told.
sub bad ($self) { return grep { $_->{status} && $_->{status} != $_->{want} && $_->{status} !~ /^50[34]$/ && ($_->{problem} // '') ne 'idempotency-key-in-flight' } $self->ledger }

# The longest time without a write that was acknowledged, of those that overlap
# with [from, to].
sub gap ($self, $from, $to) {
    my @t = map { $_->{t1} } grep { defined $_->{key} && $_->{status} =~ /^20[01]$/ } $self->ledger;
    my $gap = 0;
    for my $i (1 .. $#t) {
        next if $t[$i] < $from || $t[$i - 1] > $to;
        $gap = $t[$i] - $t[$i - 1] if $t[$i] - $t[$i - 1] > $gap;
    }
    return $gap;
}

sub count ($self, $code) { return scalar grep { $code->() } $self->ledger }

# Into the ledger of the invariants.
sub settle ($self, $inv) {
    for my $e ($self->ledger) {
        next if !defined $e->{key} || !$e->{status};
        my $answer = bless { status => $e->{status}, body => $e->{body}, headers => [ ['etag', $e->{etag}], ['location', $e->{location}],
            ['content-type', $e->{status} < 300 ? 'application/json' : 'application/problem+json'] ] }, 'Aegis::Http::Answer';
        $inv->client('default', $e->{key}, $e->{path} =~ s{/[0-9a-f-]{36}/}{/{id}/}r, $answer);
    }
}

1;
