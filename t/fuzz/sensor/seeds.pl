# seeds.pl <folder>: a body for each target of t/fuzz/sensor/sensor.c, as a sender makes
# it, in <folder>/sensor-<name>/seed; for those that decode histograms one of each kind beside
# it: with buckets, cumulative in two states and as differences.

use v5.36;
use lib 't/lib';
use Compress::Zlib ();
use File::Path 'make_path';
use Aegis::Test 'slurp';
use Aegis::Proto qw(varint bytes_field int_field sint_field double_field fixed_field snappy write_request write_request2 native_request push_request);
my $t=1700000000000; my $kv = sub ($k, $v) { bytes_field(1, $k) . bytes_field(2, bytes_field(1, $v)) };
my $res = bytes_field(1, bytes_field(1, $kv->('service.name', 'web')) . bytes_field(1, $kv->('k8s.namespace.name', 'shop')));
my @s=( write_request([{__name__=>'a_total',service=>'w',namespace=>'n'},[$t,1],[$t+1000,5]]), write_request2([{__name__=>'a_total',job=>'w'},[$t,1],[$t+1000,5]]),
 bytes_field(1,$res.bytes_field(2,bytes_field(2,bytes_field(1,'m').bytes_field(7,bytes_field(1,fixed_field(3,$t*1e6).double_field(4,2)).int_field(2,2).int_field(3,1)).bytes_field(9,bytes_field(1,fixed_field(3,$t*1e6).fixed_field(4,3).double_field(5,2.0)))))),
 '{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},"scopeMetrics":[{"metrics":[{"name":"x","summary":{"dataPoints":[{"timeUnixNano":"1700000000000000000","count":"5","sum":1.5,"quantileValues":[{"quantile":0.5,"value":1}]}]}}]}]}]}',
 bytes_field(1,$res.bytes_field(2,bytes_field(2,fixed_field(1,$t*1e6).int_field(2,17).bytes_field(5,bytes_field(1,'{"msg":"payment 5 failed","level":"error"}'))))),
 '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1700000000000000000","severityText":"ERROR","body":{"stringValue":"payment 5 failed"}}]}]}]}',
 bytes_field(1,$res.bytes_field(2,bytes_field(2,bytes_field(1,'t'x16).bytes_field(2,'s'x8).int_field(6,3).fixed_field(7,$t*1e6).fixed_field(8,$t*1e6+5e6).bytes_field(9,$kv->('peer.service','db')).bytes_field(15,int_field(3,2))).bytes_field(2,bytes_field(1,'t'x16).bytes_field(2,'u'x8).bytes_field(4,'s'x8).int_field(6,2).fixed_field(7,$t*1e6).fixed_field(8,$t*1e6+5e6)))),
 '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","spanId":"2222222222222222","parentSpanId":"1111111111111111","kind":2,"endTimeUnixNano":"1700000000000000000","status":{"code":2}}]}]}]}',
 push_request(['{app="cart",level="error"}',[$t,'cannot reach db-9']]), '{"streams":[{"stream":{"app":"cart"},"values":[["1700000000000000000","line 5",{"a":"b"}]]}]}',
 '{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"A","severity":"critical","service":"w"},"annotations":{"summary":"x"},"startsAt":"2026-11-26T05:00:00Z","fingerprint":"ff"}]}',
 '{"kind":"Event","metadata":{"uid":"u","name":"x"},"type":"Warning","reason":"BackOff","count":4,"message":"m","involvedObject":{"kind":"Pod","namespace":"shop","name":"web-1"},"firstTimestamp":"2026-11-26T05:00:00Z"}',
 '{"specversion":"1.0","id":"1","source":"/ci","type":"d","time":"2026-11-26T05:00:00Z","data":{"title":"x","labels":{"service":"w"}}}');
push @s, "ce-specversion: 1.0\nCE-Id: 1\nce-source: /ci\nce-type: d%20e\nce-time: 2026-11-26T05:00:00Z\ncontent-type: application/json\n\n{\"title\":\"x\",\"labels\":{\"service\":\"w\"}}",
 Compress::Zlib::memGzip('hello 'x100), snappy('hello 'x100);
my @names = slurp('t/fuzz/sensor/sensor.c') =~ /^    \{ "(\w+)",/mg;
die 'names and seeds differ' unless @names == @s;
for my $i (0..$#s) { my $d = "$ARGV[0]/sensor-$names[$i]"; make_path($d); open my $f,'>:raw', "$d/seed" or die $!; print $f $s[$i]; }

# --- histograms: two states of each cumulative one, so that what it grew by is looked at
my ($then, $now) = ($t - 2000, $t);
my $packed = sub ($f, $as, @v) { bytes_field($f, $as eq 's' ? join('', map { varint($_ < 0 ? -2 * $_ - 1 : 2 * $_) } @v)
    : $as eq 'v' ? join('', map { varint($_) } @v) : pack("$as*", @v)) };
my $metric = sub ($field, $temporality, @points) {
    return bytes_field(1, $res . bytes_field(2, bytes_field(2, bytes_field(1, 'latency')
        . bytes_field($field, join('', map { bytes_field(1, $_) } @points) . int_field(2, $temporality)))));
};
my $explicit = sub ($at, @counts) { fixed_field(2, $then * 1e6) . fixed_field(3, $at * 1e6) . fixed_field(4, 9) . double_field(5, 2.5)
    . $packed->(6, 'Q<', @counts) . $packed->(7, 'd<', 0.1, 1, 10) . double_field(11, 0.05) . double_field(12, 12) };
my $power = sub ($at, $scale, @counts) { fixed_field(3, $at * 1e6) . fixed_field(4, 9) . double_field(5, 2.5) . sint_field(6, $scale) . fixed_field(7, 2)
    . bytes_field(8, sint_field(1, 3) . $packed->(2, 'v', @counts)) . bytes_field(9, sint_field(1, -1) . $packed->(2, 'v', 1, 0, 2)) . double_field(14, 0.001) };
my $json = sub ($kind, $temporality, @points) { qq({"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"latency","$kind":{"aggregationTemporality":$temporality,"dataPoints":[)
    . join(',', map { qq({"timeUnixNano":"$_->[0]000000",$_->[1]}) } @points) . ']}}]}]}]}' };
# a native one: whole numbers as differences of differences, floats as they are, bounds of its own
my $spans = sub ($f, @s) { join '', map { bytes_field($f, sint_field(1, $_->[0]) . int_field(2, $_->[1])) } @s };
my $native = sub ($at, $n) { int_field(1, 9 * $n) . double_field(3, 2.5 * $n) . sint_field(4, 3) . double_field(5, 0.001) . int_field(6, $n)
    . $spans->(8, [0, 1]) . $packed->(9, 's', $n) . $spans->(11, [-2, 2], [3, 1]) . $packed->(12, 's', $n, 1, -1) . int_field(15, $at) };
my $float = double_field(2, 9) . double_field(3, 2.5) . sint_field(4, -1) . double_field(7, 1) . $spans->(11, [1, 3]) . $packed->(13, 'd<', 1, 2.5, 4)
    . int_field(14, 3) . int_field(15, $now);
my $bounds = int_field(1, 9) . double_field(3, 2.5) . sint_field(4, -53) . $spans->(11, [0, 3]) . $packed->(12, 's', 2, 1, -1) . int_field(15, $now)
    . $packed->(16, 'd<', 0.1, 1, 10);
my $labels = { __name__ => 'latency', service => 'w', namespace => 'n' };
my $native2 = sub (@h) { my $i = 0; my @symbols = ('', map { $_, $labels->{$_} } sort keys %$labels);
    return join('', map { bytes_field(4, $_) } @symbols) . bytes_field(5, $packed->(1, 'v', 1 .. $#symbols) . join '', map { bytes_field(3, $_) } @h) };
my @classic = map { my $le = $_; [{ __name__ => 'latency_bucket', service => 'w', $le eq 'count' ? (__name__ => 'latency_count') : $le eq 'sum' ? (__name__ => 'latency_sum')
    : (le => $le) }, [$then, 1], [$now, $le eq 'sum' ? 2.5 : 9]] } qw(0.1 1 +Inf count sum);
my %more = (
    prw1 => { native => native_request([$labels, $native->($then, 1), $native->($now, 4)]), floats => native_request([$labels, $float]),
        bounds => native_request([$labels, $bounds]), classic => write_request(@classic) },
    prw2 => { native => $native2->($native->($then, 1), $native->($now, 4)), floats => $native2->($float), bounds => $native2->($bounds),
        classic => write_request2(@classic) },
    otlp_metrics => { explicit => $metric->(9, 2, $explicit->($then, 1, 0, 1, 0), $explicit->($now, 4, 0, 5, 2)), delta => $metric->(9, 1, $explicit->($now, 4, 0, 5, 2)),
        exponential => $metric->(10, 2, $power->($then, 2, 1, 1, 1, 1), $power->($now, 1, 6, 3)), power => $metric->(10, 1, $power->($now, 3, 1, 0, 5)) },
    otlp_metrics_json => {
        explicit => $json->(histogram => 2, map { [$_->[0], qq("count":"9","sum":2.5,"min":0.05,"max":12,"explicitBounds":[0.1,1,10],"bucketCounts":["$_->[1]",0,"5",2])] } [$then, 1], [$now, 4]),
        exponential => $json->(exponentialHistogram => 2, map { [$_->[0], qq("scale":$_->[1],"zeroCount":"2","positive":{"offset":3,"bucketCounts":["$_->[2]",3]},"negative":{"offset":-1,"bucketCounts":[1]},"sum":2.5)] }
            [$then, 2, 1], [$now, 1, 6]) });
for my $name (keys %more) {
    for my $kind (keys %{ $more{$name} }) { open my $f, '>:raw', "$ARGV[0]/sensor-$name/$kind" or die $!; print $f $more{$name}{$kind} }
}
