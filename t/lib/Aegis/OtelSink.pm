# Aegis::OtelSink: a collector that takes OTLP's JSON over HTTP and believes
# nothing: each request is held against the fields of the protocol's messages in
# proto3's JSON mapping. How it answers is said by a file; what came is in another,
# a span a line.
package Aegis::OtelSink;

use v5.36;
use IO::Socket::INET;
use JSON::PP;
use Aegis::Test;

my $hex = sub ($n) { sub ($v) { !ref $v && $v =~ /^[0-9a-f]{$n}\z/ && $v =~ /[^0]/ } };
my $string = sub ($v) { !ref $v && defined $v && JSON::PP->new->allow_nonref->encode($v) =~ /^"/ };
my $number = sub ($v) { !ref $v && defined $v && JSON::PP->new->allow_nonref->encode($v) =~ /^\d+$/ };
my $int64 = sub ($v) { $string->($v) && $v =~ /^-?\d{1,19}\z/ };     # a string in JSON
my $fixed64 = sub ($v) { $string->($v) && $v =~ /^\d{19}\z/ };       # times of our days

# message => field => check, or [message] for a repeated one, or \message. A ! marks
# what the protocol wants to be there.
my %proto = (
    Request => { 'resourceSpans!' => ['ResourceSpans'] },
    ResourceSpans => { 'resource!' => \'Resource', 'scopeSpans!' => ['ScopeSpans'], schemaUrl => $string },
    Resource => { 'attributes!' => ['KeyValue'], droppedAttributesCount => $number },
    ScopeSpans => { 'scope!' => \'Scope', 'spans!' => ['Span'], schemaUrl => $string },
    Scope => { 'name!' => $string, version => $string, attributes => ['KeyValue'], droppedAttributesCount => $number },
    Span => { 'traceId!' => $hex->(32), 'spanId!' => $hex->(16), parentSpanId => $hex->(16), traceState => $string, flags => $number,
              'name!' => $string, 'kind!' => sub ($v) { $number->($v) && $v >= 1 && $v <= 5 }, 'startTimeUnixNano!' => $fixed64,
              'endTimeUnixNano!' => $fixed64, attributes => ['KeyValue'], droppedAttributesCount => $number, events => ['Event'],
              droppedEventsCount => $number, links => ['Link'], droppedLinksCount => $number, status => \'Status' },
    Status => { message => $string, code => sub ($v) { $number->($v) && $v <= 2 } },
    KeyValue => { 'key!' => sub ($v) { $string->($v) && length $v }, 'value!' => \'AnyValue' },
    AnyValue => { stringValue => $string, intValue => $int64, boolValue => sub ($v) { JSON::PP::is_bool($v) } },
    Event => {}, Link => {},
);

# What is wrong with a message, each with its path.
sub wrong ($type, $v, $path = $type) {
    return "$path is no object" if ref $v ne 'HASH';
    my %field = map { s/!$//r => $proto{$type}{$_} } keys %{ $proto{$type} };
    my @bad = map { "$path has no $_" } grep { !exists $v->{$_} } map { /^(.*)!$/ ? $1 : () } keys %{ $proto{$type} };
    for my $name (sort keys %$v) {
        my $want = $field{$name};
        if (!$want) { push @bad, "$path.$name is no field" }
        elsif (ref $want eq 'CODE') { push @bad, "$path.$name: " . JSON::PP->new->allow_nonref->encode($v->{$name}) unless $want->($v->{$name}) }
        elsif (ref $want eq 'SCALAR') { push @bad, wrong($$want, $v->{$name}, "$path.$name") }
        elsif (ref $v->{$name} ne 'ARRAY') { push @bad, "$path.$name is no array" }
        else { my $i = 0; push @bad, map { wrong($want->[0], $_, "$path.$name\[" . $i++ . ']') } @{ $v->{$name} } }
    }
    push @bad, "$path has " . keys(%$v) . ' values' if $type eq 'AnyValue' && keys %$v != 1;
    push @bad, "$path ends before it begins" if $type eq 'Span' && !@bad && $v->{endTimeUnixNano} lt $v->{startTimeUnixNano};
    my %seen;
    push @bad, map { "$path has $_ twice" } grep { $seen{$_}++ == 1 } map { $_->{key} } grep { ref eq 'HASH' } @{ $v->{attributes} // [] };
    return @bad;
}

sub new ($class) {
    my $self = bless { port => free_port(), dir => scratch('otel') }, $class;
    return $self->start;
}

sub start ($self) {
    $self->{process} = start_process('otel-sink',
        [$^X, '-I' . root . '/t/lib', '-MAegis::OtelSink', '-e', 'Aegis::OtelSink::serve(@ARGV)', @$self{qw(dir port)}]);
    wait_for('the sink of spans', 10, sub { IO::Socket::INET->new("127.0.0.1:$self->{port}") }) or die 'no sink of spans';
    return $self;
}

# Its children too: each serves a connection that is kept.
sub stop ($self) {
    my $p = delete $self->{process} or return;
    kill 'TERM', -$p->{pid};
    stop_process($p);
}
sub url ($self) { return "http://127.0.0.1:$self->{port}/v1/traces" }

# ok, partial (one of a batch is not taken), hang, or an HTTP status.
sub mode ($self, $mode) { spew_into("$self->{dir}/mode", $mode) }

# The spans that came, of one trace or of all; attributes as {key => value}.
sub spans ($self, $trace = undef) {
    my $log = eval { slurp("$self->{dir}/spans") } // '';
    my @spans = map { JSON::PP::decode_json($_) } grep { length } split /\n/, $log;
    return grep { !defined $trace || $_->{traceId} eq $trace } @spans;
}

sub facts ($self) { return split /\n/, eval { slurp("$self->{dir}/facts") } // '' }

# --- in the server's process

sub put ($file, $line) {
    open my $f, '>>', $file or die "$file: $!";
    syswrite $f, "$line\n";
}

sub serve ($dir, $port) {
    $SIG{CHLD} = 'IGNORE';
    my $listen = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die "listen: $!";
    while (1) {
        my $c = $listen->accept or next;
        my $pid = fork // next;
        next if $pid;
        close $listen;
        1 while eval { one($dir, $c) };
        exit 0;
    }
}

sub one ($dir, $c) {
    my $line = <$c> // return 0;
    my %h;
    while (defined(my $l = <$c>)) { last if $l =~ /^\r?\n\z/; $h{lc $1} = $2 if $l =~ /^([^:]+):\s*(.*?)\r?\n/ }
    my $body = '';
    read $c, $body, $h{'content-length'} // 0;
    my $mode = eval { slurp("$dir/mode") } // 'ok';
    if ($mode eq 'hang') { put("$dir/facts", 'hang'); sleep 60; return 0 }
    my $request = eval { JSON::PP::decode_json($body) };
    my @bad = $request ? wrong('Request', $request) : "no JSON: $@";
    push @bad, "not a POST of JSON: $line" if $line !~ m{^POST /v1/traces HTTP/1\.1} || ($h{'content-type'} // '') ne 'application/json';
    put("$dir/facts", "wrong: $_") for @bad;
    put("$dir/facts", "$mode $h{'user-agent'}" . (defined $h{'x-team'} ? " $h{'x-team'}" : ''));
    my ($status, $answer) = @bad ? (400, '{}') : $mode =~ /^\d+$/ ? ($mode, '{}')
        : (200, $mode eq 'partial' ? '{"partialSuccess":{"rejectedSpans":"1","errorMessage":"one was bad"}}' : '{"partialSuccess":{}}');
    for my $rs ($status == 200 ? @{ $request->{resourceSpans} } : ()) {
        my %resource = attributes($rs->{resource}{attributes});
        for my $s (map { @{ $_->{spans} } } @{ $rs->{scopeSpans} }) {
            put("$dir/spans", JSON::PP->new->canonical->encode({ %$s, attributes => { attributes($s->{attributes}) }, resource => \%resource }));
        }
    }
    print $c "HTTP/1.1 $status X\r\nContent-Type: application/json\r\n", $status == 429 ? "Retry-After: 1\r\n" : (),
        'Content-Length: ', length $answer, "\r\n\r\n$answer";
    $c->flush;
    return 1;
}

sub attributes ($list) { return map { $_->{key} => (values %{ $_->{value} })[0] } @{ $list // [] } }

1;
