# Aegis::Proto: bodies as senders make them: protobuf field by field, snappy's block
# format without compression, for tests that send what no client at hand would.
package Aegis::Proto;

use v5.36;
use Exporter 'import';
our @EXPORT_OK = qw(varint bytes_field int_field sint_field double_field fixed_field snappy write_request write_request2 native_request push_request);

sub varint ($n) {
    my $out = '';
    while ($n > 0x7f) { $out .= chr(($n & 0x7f) | 0x80); $n >>= 7 }
    return $out . chr $n;
}

sub bytes_field ($f, $v) { return varint($f << 3 | 2) . varint(length $v) . $v }
sub int_field ($f, $v)   { return varint($f << 3) . varint($v) }
sub sint_field ($f, $v)  { return int_field($f, $v < 0 ? -2 * $v - 1 : 2 * $v) }
sub double_field ($f, $v) { return varint($f << 3 | 1) . pack 'd<', $v }
sub fixed_field ($f, $v) { return varint($f << 3 | 1) . pack 'Q<', $v }

# series: [{labels}, message of a native histogram, …], version 1
sub native_request (@series) {
    return join '', map {
        my ($labels, @h) = @$_;
        bytes_field(1, join('', map({ bytes_field(1, bytes_field(1, $_) . bytes_field(2, $labels->{$_})) } sort keys %$labels), map { bytes_field(4, $_) } @h))
    } @series;
}

# A body as one literal after the other.
sub snappy ($data) {
    my $out = varint(length $data);
    for (my $i = 0; $i < length $data; $i += 65536) {
        my $part = substr $data, $i, 65536;
        $out .= pack('Cv', 61 << 2, length($part) - 1) . $part;
    }
    return $out;
}

# series: [{labels}, [ms, value], …]
sub write_request (@series) {
    return join '', map {
        my ($labels, @samples) = @$_;
        bytes_field(1, join('', map({ bytes_field(1, bytes_field(1, $_) . bytes_field(2, $labels->{$_})) } sort keys %$labels),
            map { bytes_field(2, double_field(1, $_->[1]) . int_field(2, $_->[0])) } @samples))
    } @series;
}

sub write_request2 (@series) {
    my (%at, @symbols) = ('' => 0);
    @symbols = ('');
    my $ref = sub ($s) { $at{$s} //= push(@symbols, $s) - 1 };
    my $out = join '', map {
        my ($labels, @samples) = @$_;
        bytes_field(5, bytes_field(1, join '', map { varint($ref->($_)) . varint($ref->($labels->{$_})) } sort keys %$labels)
            . join '', map { bytes_field(2, double_field(1, $_->[1]) . int_field(2, $_->[0])) } @samples)
    } @series;
    return join('', map { bytes_field(4, $_) } @symbols) . $out;
}

# Loki: [labels, [ms, line], …]
sub push_request (@streams) {
    return join '', map {
        my ($labels, @entries) = @$_;
        bytes_field(1, bytes_field(1, $labels) . join '', map {
            bytes_field(2, bytes_field(1, int_field(1, int($_->[0] / 1000)) . int_field(2, $_->[0] % 1000 * 1_000_000)) . bytes_field(2, $_->[1]))
        } @entries)
    } @streams;
}

1;
