# Aegis::S3: a server that takes objects as S3 does, and checks AWS Signature
# Version 4 by its specification, on its own: the signed headers, the body's hash,
# the credential's date, region and service. Objects are files of its folder.
# Where AEGIS_T_S3 names a real server (endpoint, bucket, access key, secret and
# region, with blanks between them) that one is used.
package Aegis::S3;

use v5.36;
use Digest::SHA qw(sha256_hex hmac_sha256 hmac_sha256_hex);
use IO::Socket::INET;
use Aegis::Test;

sub new ($class) {
    my $dir = scratch('s3');
    if (my $real = $ENV{AEGIS_T_S3}) {
        my ($endpoint, $bucket, $access, $secret, $region) = split / /, $real;
        return bless { real => 1, dir => $dir, endpoint => $endpoint, bucket => $bucket, access => $access, secret => $secret, region => $region }, $class;
    }
    mkdir "$dir/objects";
    spew("$dir/mode", '');
    my $self = bless { dir => $dir, port => free_port(), bucket => 'aegis-test', access => 'AKTEST', secret => 'sEcr3t/+of=the test',
        region => 'eu-north-1' }, $class;
    $self->{endpoint} = "http://127.0.0.1:$self->{port}";
    $self->{process} = start_process('s3', [$^X, '-I' . root . '/t/lib', '-MAegis::S3', '-e', 'Aegis::S3::serve(@ARGV)',
        @$self{qw(dir port access secret region)}]);
    wait_for('the object store', 10, sub { IO::Socket::INET->new("127.0.0.1:$self->{port}") }) or die 'no object store';
    return $self;
}

# "": as it should; "down": 503 to everything.
sub mode ($self, $mode) { spew_into("$self->{dir}/mode", $mode) }

# An object's bytes, undef when it is not there.
sub object ($self, $key) {
    if ($self->{real}) {
        my $out = "$self->{dir}/got";
        my $r = run(['curl', '-sS', '-f', '-o', $out, '--aws-sigv4', "aws:amz:$self->{region}:s3", '-u', "$self->{access}:$self->{secret}",
            '-H', 'x-amz-content-sha256: UNSIGNED-PAYLOAD', "$self->{endpoint}/$self->{bucket}/$key"]);
        return $r->{rc} eq '0' ? slurp($out) : undef;
    }
    my $file = "$self->{dir}/objects/" . ("$self->{bucket}/$key" =~ s{/}{!}gr);
    return -e $file ? slurp($file) : undef;
}

# What was refused, and why; of a real server that is in the executor's log.
sub refused ($self) { return $self->{real} ? () : grep { length } split /\n/, eval { slurp("$self->{dir}/refused") } // '' }
sub puts ($self, $key) { return scalar grep { $_ eq $key } split /\n/, eval { slurp("$self->{dir}/puts") } // '' }

# --- in the server's process

sub add ($file, $line) { open my $f, '>>', $file or die; syswrite $f, "$line\n" }

sub serve ($dir, $port, @cred) {
    $SIG{CHLD} = 'IGNORE';
    my $l = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die "listen: $!";
    while (1) {
        my $c = $l->accept or next;
        next if fork;
        eval { one($dir, $c, @cred) };
        exit 0;
    }
}

sub one ($dir, $c, @cred) {
    my $in = '';
    while ($in !~ /\r\n\r\n/) { sysread($c, $in, 65536, length $in) or return }
    my ($head, $body) = split /\r\n\r\n/, $in, 2;
    my ($method, $path) = $head =~ m{\A(\S+) (\S+) HTTP/1\.[01]\r\n};
    my %h;
    push @{ $h{ lc $1 } }, $2 while $head =~ /^([\w-]+):[ \t]*(.*?)[ \t]*\r?$/mg;
    my $len = $h{'content-length'}[0] // 0;
    while (length $body < $len) { sysread($c, $body, 65536, length $body) or return }
    my $mode = slurp("$dir/mode");
    my $why = $mode eq 'down' ? 'SlowDown' : judge($method, $path, \%h, $body, @cred);
    my $status = $mode eq 'down' ? 503 : $why ? 403 : 200;
    if ($why) { add("$dir/refused", "$method $path: $why") }
    else {
        spew("$dir/objects/.new$$", $body);
        rename "$dir/objects/.new$$", "$dir/objects/" . (substr($path, 1) =~ s{/}{!}gr);
        add("$dir/puts", $path =~ s{^/[^/]+/}{}r);
    }
    my $text = $why ? "<Error><Code>$why</Code></Error>" : '';
    print $c "HTTP/1.1 $status x\r\nContent-Length: ${\length $text}\r\nConnection: close\r\n\r\n$text";
}

sub judge ($method, $path, $h, $body, $access, $secret, $region) {
    return 'MethodNotAllowed' unless $method eq 'PUT';
    my ($cred, $signed, $sig) = ($h->{authorization}[0] // '') =~ /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/
        or return 'AccessDenied';
    my $date = $h->{'x-amz-date'}[0] // return 'no x-amz-date';
    my $hash = $h->{'x-amz-content-sha256'}[0] // return 'MissingSecurityHeader';
    return 'XAmzContentSHA256Mismatch' unless $hash eq sha256_hex($body);
    my ($key, $day, $reg, $service, $end) = split m{/}, $cred;
    return 'InvalidAccessKeyId' unless $key eq $access;
    return 'AuthorizationHeaderMalformed' unless $day eq substr($date, 0, 8) && $reg eq $region && $service eq 's3' && $end eq 'aws4_request';
    my @names = split /;/, $signed;
    for my $must (qw(host x-amz-content-sha256 x-amz-date)) { return "not signed: $must" unless grep { $_ eq $must } @names }
    my $canonical = join "\n", $method, $path, '', (map { "$_:" . join(',', @{ $h->{$_} // [] }) } @names), '', $signed, $hash;
    my $scope = "$day/$reg/$service/$end";
    my $to_sign = join "\n", 'AWS4-HMAC-SHA256', $date, $scope, sha256_hex($canonical);
    my $k = hmac_sha256($end, hmac_sha256($service, hmac_sha256($reg, hmac_sha256($day, "AWS4$secret"))));
    return hmac_sha256_hex($to_sign, $k) eq $sig ? '' : 'SignatureDoesNotMatch';
}

1;
