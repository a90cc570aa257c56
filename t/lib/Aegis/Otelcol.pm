# Aegis::Otelcol: a real OpenTelemetry Collector (t/otel, `make otel-test`) that stands
# between a service and the gateway as it does in the field: OTLP/HTTP comes in, is
# batched, and leaves in the exporter's own way (protobuf, gzip, retries, a bearer
# token, the CA of the installation).
package Aegis::Otelcol;

use v5.36;
use IO::Socket::INET;
use Aegis::Test;

sub binary () { return $ENV{AEGIS_T_OTELCOL} // '' }

# out: lines of an exporter in YAML, by its name.
sub start ($class, %opt) {
    my ($dir, $port) = (scratch('otelcol'), free_port());
    my ($name) = $opt{out} =~ /^(\w+)/;
    my $pipe = "{receivers: [otlp], processors: [batch], exporters: [$name]}";
    spew("$dir/conf.yaml", <<"END");
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:$port"}}}}
processors: {batch: {timeout: 200ms}}
exporters:
  $opt{out}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: $pipe, metrics: $pipe, logs: $pipe}
END
    my $p = start_process('otelcol', [binary, "--config=file:$dir/conf.yaml"], log => "$dir/log");
    wait_for('the Collector', 60, sub { IO::Socket::INET->new("127.0.0.1:$port") }) or die slurp("$dir/log");
    return bless { process => $p, port => $port, log => "$dir/log" }, $class;
}

# To an installation, as docs/sensor.md says.
sub into ($class, $stack) {
    my ($url, $ca, $token) = map { $stack->e($_) } qw(AEGIS_URL AEGIS_CA AEGIS_TOKEN);
    return $class->start(out => qq(otlp_http: {endpoint: "$url", headers: {Authorization: "Bearer $token"}, tls: {ca_file: "$ca"}}));
}

sub log ($self) { return slurp($self->{log}) }
sub stop ($self) { return stop_process($self->{process}) }

# Say something to it as an SDK with the JSON encoding does; what is one of metrics, logs, traces.
sub say_otlp ($self, $what, $doc) {
    my $r = run(['curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', '-H', 'Content-Type: application/json', '--data-binary', '@-',
        "http://127.0.0.1:$self->{port}/v1/$what"], input => json_encode($doc));
    return $r->{out};
}

1;
