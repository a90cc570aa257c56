# Aegis::Front: an nginx whose traffic a gateway.shift divides: a front with two
# upstream groups that say who they are, the split's file in its folder, and the
# address at which its id is read. And clients that ask without a pause.
# Invariant: lost() has every request that was not answered with 200; one that is
# sent again because an idle connection was closed before it is not one.
package Aegis::Front;

use v5.36;
use IO::Socket::INET;
use Aegis::Test;

sub new ($class, %args) {
    my $dir = scratch('front-' . ($args{name} // '1'));
    my $self = bless { dir => $dir, %args }, $class;
    $self->{$_} = free_port() for qw(front id a1 a2 b1);
    mkdir "$dir/$_" for qw(conf.d splits tmp objects);
    my $temp = join '', map { "    $_ $dir/tmp;\n" } qw(client_body_temp_path proxy_temp_path fastcgi_temp_path uwsgi_temp_path scgi_temp_path);
    my $scheme = 'http' . '://$gateway_shop';
    my $server = sub ($port, $who) { "    server { listen 127.0.0.1:$port; location / { return 200 \"$who\"; } }\n" };
    spew("$dir/nginx.conf", "worker_processes 2;\npid $dir/nginx.pid;\nerror_log $dir/error.log notice;\n"
        . "events { worker_connections 256; }\nhttp {\n$temp    access_log off;\n    include $dir/splits/*.conf;\n    include $dir/conf.d/*.conf;\n"
        . "    upstream shop_green { server 127.0.0.1:$self->{a1}; server 127.0.0.1:$self->{a2}; }\n"
        . "    upstream shop_blue { server 127.0.0.1:$self->{b1}; }\n"
        . $server->($self->{a1}, 'green') . $server->($self->{a2}, 'green') . $server->($self->{b1}, 'blue')
        . "    server { listen 127.0.0.1:$self->{front}; location / { proxy_pass $scheme; } }\n"
        . "    server { listen 127.0.0.1:$self->{id}; location = /shop { return 200 \"\$gateway_shop_id\\n\"; } }\n}\n");
    spew("$dir/splits/shop.conf", $args{first} // slurp(root . '/deploy/gateway/shop.conf'));
    spew("$dir/aegis.yaml", <<"    END" =~ s/^ {4}//gmr);
    # the executor's settings for this front
    gateway:
      nginx: "@{[ have('nginx') ]} -c $dir/nginx.conf -p $dir -e $dir/error.log"
      dir: splits
      splits: "shop=shop_green,shop_blue other=shop_green,shop_gone"
      verify_url: "http://127.0.0.1:$self->{id}/"
      verify_s: 2
    database:
      url: "host=/nowhere"
    END
    return $self;
}

# uid, gid: the user that it runs as and who owns all of it, where that can be.
sub start ($self, $uid = $>, $gid = 0) {
    my $d = $self->{dir};
    my @as;
    if ($> == 0 && $uid != 0) {
        run_ok(['chown', '-R', "$uid:$gid", $d]);
        @as = ('setpriv', "--reuid=$uid", "--regid=$gid", '--clear-groups');
    }
    run_ok([@as, have('nginx'), '-c', "$d/nginx.conf", '-p', $d, '-e', "$d/error.log"]);
    wait_for('nginx to be up', 10, sub { $self->{master} = eval { slurp("$d/nginx.pid") } and $self->ask }) or die 'no nginx';
    chomp $self->{master};
    Aegis::Test::at_end(sub { $self->stop });
    return $self;
}

sub stop ($self) {
    my $pid = delete $self->{master} or return;
    kill 'TERM', $pid;
    wait_for('nginx to end', 10, sub { !alive($pid) });
}

# One request on a connection of its own: the group that answered, or undef.
sub ask ($self, $port = $self->{front}, $path = '/') {
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5) or return undef;
    print $s "GET $path HTTP/1.0\r\nHost: front\r\n\r\n";
    local $/;
    return <$s> =~ m{\AHTTP/1\.1 200 .*?\r\n\r\n(.*)\z}s ? $1 : undef;
}

sub served ($self) { return ($self->ask($self->{id}, '/shop') // '') =~ s/\s+//gr }
sub file ($self, $name = 'shop.conf') { return eval { slurp("$self->{dir}/splits/$name") } }

# How n requests are shared: {green => .., blue => ..}.
sub share ($self, $n) {
    my %n;
    $n{ $self->ask // 'lost' }++ for 1 .. $n;
    return \%n;
}

# An act, as the executor's runner would drive it.
sub act ($self, $params, %o) {
    my $r = run([build_dir . '/t/act/act', '--conf', $self->{conf} // "$self->{dir}/aegis.yaml", '--objects', "$self->{dir}/objects",
        '--action', delete $o{action} // 'gateway.shift', '--params', json_encode($params), map { /^(hard|metrics)$/ ? "--$_" : ("--$_", $o{$_}) } sort keys %o],
        env => {san_env}, timeout => 90);
    return { %$r, state => 'DEAD' } if $r->{signal};
    my ($line) = $r->{out} =~ /\A(\{.*\})$/m;
    return $line ? { %{ json_decode($line) }, metrics => $r->{out} } : { state => "NONE: $r->{out}$r->{err}", error => $r->{err} };
}

# --- clients, in processes of their own

sub load ($self, $clients) {
    my @p;
    for my $i (1 .. $clients) {
        push @p, start_process("client-$i", [$^X, '-I' . root . '/t/lib', '-MAegis::Front', '-e', 'Aegis::Front::client(@ARGV)', $self->{front}, $i % 2, "$self->{dir}/client-$i"]);
    }
    $self->{clients} = \@p;
    wait_for('clients to ask', 20, sub { !grep { !-e "$self->{dir}/client-$_.up" } 1 .. $clients });
}

# {asked, lost, green, blue} of all clients.
sub unload ($self) {
    stop_process($_) for @{ $self->{clients} };
    my %sum = (lost => 0, asked => 0);
    for my $i (1 .. @{ $self->{clients} }) {
        my $n = json_decode(slurp("$self->{dir}/client-$i"));
        $sum{$_} += $n->{$_} for grep { $_ ne 'why' } keys %$n;
        $sum{why} //= $n->{why};
        unlink "$self->{dir}/client-$i", "$self->{dir}/client-$i.up";
    }
    return \%sum;
}

# Until TERM. keep: one connection for as long as the other side keeps it.
sub client ($port, $keep, $file) {
    my (%n, $s, $stop, $used);
    my $first = getppid;
    $SIG{TERM} = sub { $stop = 1 };
    $SIG{PIPE} = 'IGNORE';
    $n{$_} = 0 for qw(asked lost resent);
    while (!$stop && getppid == $first) {
        $n{asked}++;
        my $answer = '';
        while (1) {
            ($s, $used) = (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5), 0) if !$s;
            if (!$s) { $answer = "no connection: $!"; last }
            syswrite $s, "GET / HTTP/1.1\r\nHost: front\r\n" . ($keep ? '' : "Connection: close\r\n") . "\r\n";
            my $in = '';
            while ($in !~ /\r\n\r\n/ || length($') < ($in =~ /^Content-Length: (\d+)/mi ? $1 : 0)) {
                my $got = sysread $s, $in, 65536, length $in;
                last unless $got || !defined $got && $!{EINTR};
            }
            if ($in eq '' && $used++) { $s = undef; $n{resent}++; next }
            $used = 1;
            $s = undef if !$keep || $in =~ /^Connection: close/mi;
            $answer = $in;
            last;
        }
        if ($answer =~ m{\AHTTP/1\.1 200 .*\r\n\r\n(\w+)\z}s) { $n{$1}++ }
        else { $n{lost}++; $n{why} //= substr $answer, 0, 200; $s = undef }
        if ($n{asked} == 1) { open my $f, '>', "$file.up" }
    }
    spew($file, json_encode(\%n));
}

1;
