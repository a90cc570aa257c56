# 49otelcol.t: the real OpenTelemetry Collector takes the spans of a whole case, and
# prints the trace that was meant. `make otel-test` builds it; without it there is
# nothing to ask.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Otelcol;
use Aegis::Stack;
use Aegis::Test;

plan skip_all => 'no Collector: make otel-test' unless -x Aegis::Otelcol::binary();

my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
my $otelcol = Aegis::Otelcol->start(out => 'debug: {verbosity: detailed, sampling_initial: 100000, sampling_thereafter: 1}');

my $stack = Aegis::Stack->own('otelcol', env => { OTEL_ENDPOINT => "http://127.0.0.1:$otelcol->{port}/v1/traces" });
my $case = Aegis::Case->create($stack->http, title => 'traced',
    headers => [traceparent => "00-$trace-b7ad6b7169203331-01", tracestate => 'a=1,b=2']);
is($case->wait_state('CLOSED', 60)->{status}, 'CLOSED', 'a case is closed');

# The spans of the trace, as the Collector prints them.
sub spans () {
    my @s;
    for my $text (split /^Span #\d+\s*$/m, $otelcol->log) {
        my %s = map { $_ => $text =~ /^\s+\Q$_\E\s*: ?(.*?)\s*$/m ? $1 : '' } 'Trace ID', 'Parent ID', 'ID', 'Name', 'Kind', 'TraceState', 'Status code';
        push @s, \%s if $s{'Trace ID'} eq $trace;
    }
    return @s;
}
my @s;
ok(wait_for('the whole trace', 30, sub {
    @s = spans();
    my %have = map { $_->{ID} => 1 } @s;
    # each process sends when it has a batch: a parent may come last
    return if 1 != grep { !$have{ $_->{'Parent ID'} } } @s;
    return grep({ $_->{Name} eq 'publish evt.case.transition.v1' } @s) == 6 && grep({ $_->{Name} eq 'run' } @s) && grep({ $_->{Name} eq 'process cmd.verify.run' } @s) && grep { $_->{Name} eq 'publish evt.verify.pass.v1' } @s;
}), 'the Collector has all of it') or diag($otelcol->log);
my %by = map { $_->{ID} => $_ } @s;
is_deeply([ map { "$_->{Name} $_->{'Parent ID'}" } grep { !$by{ $_->{'Parent ID'} } } @s ], ['POST /case/create b7ad6b7169203331'],
    'one root, below what the client began');
my ($step) = grep { $_->{Name} =~ /^step / } @s;
my @up = $step // ();
unshift @up, $by{ $up[0]{'Parent ID'} } while @up && $by{ $up[0]{'Parent ID'} };
is($up[0]{Name}, 'POST /case/create', 'from the step that ran ' . (@up - 1) . ' spans up to the request') if @up;
# of each module its command's publishing and processing: what it says moves the case where it is written
is(join(' ', map { $_->{Name} } @up), join(' ', 'POST /case/create', (map { ("publish $_", "process $_") } qw(evt.case.created.v1 cmd.analyze.run cmd.plan.generate cmd.gate.eval cmd.exec.run)), 'run', 'step echo'),
    'through outbox, bus and every worker');
is_deeply([ sort keys %{ { map { $_->{Kind} => 1 } @s } } ], [qw(Consumer Internal Producer Server)], 'kinds are read as they were meant');
is_deeply([ grep { $_->{'Status code'} ne 'Unset' } @s ], [], 'and so are states');
is_deeply([ grep { $_->{TraceState} ne 'a=1,b=2' } @s ], [], 'and tracestates');
unlike($otelcol->log, qr/\terror\t/, 'the Collector complains of nothing');
is($stack->metric($_, 'aegis_otel_spans_total', qr/failed|rejected|dropped/) // 0, 0, "$_: all were taken") for 'gateway', 'relay', 'exec';
diag(scalar(@s) . ' spans of one case');

$otelcol->stop;
$stack->finish;
done_testing;
