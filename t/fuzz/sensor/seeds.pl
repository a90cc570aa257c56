# seeds.pl <folder>: a body for each target of t/fuzz/sensor/sensor.c, as a sender makes
# it, in <folder>/sensor-<name>/seed.

use v5.36;
use lib 't/lib';
use Compress::Zlib ();
use File::Path 'make_path';
use Aegis::Test 'slurp';
use Aegis::Proto qw(bytes_field int_field double_field fixed_field snappy write_request write_request2 push_request);
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
