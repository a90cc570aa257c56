# 68package.t: the Debian packages: built as `make deb` does, without network and
# rights, linted, and holding what an installation needs: the module for this
# machine's nginx, every script of the schema, the API's description, the
# example. What they do once installed: `make deb-test`, in clean roots.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

plan skip_all => 'the packages are built without sanitizers' if is_san;
skip_unless('dpkg-buildpackage', 'dh_nginx', 'lintian');

my $out = scratch('deb');
my $r = run([root . '/deploy/package/deb.sh', '--lint'], timeout => 900,
    env => { AEGIS_DEB_OUT => $out, DEB_BUILD_OPTIONS => 'nocheck parallel=2' });
is($r->{rc}, 0, 'they are built, and lintian has nothing to say')
    or do { diag($r->{out} . $r->{err}); done_testing; exit };

my %deb = map { m{/([^/_]+)_[^/]*\.deb$} ? ($1 => $_) : () } glob "$out/*.deb";
is_deeply([ sort grep { !/-dbgsym$/ } keys %deb ], [qw(aegis-common aegis-workers aegisctl libnginx-mod-http-aegis)], 'four packages');

my $root = scratch('root');
run_ok(['dpkg-deb', '-x', $deb{$_}, $root]) for qw(aegis-common aegis-workers aegisctl libnginx-mod-http-aegis);

subtest 'the module' => sub {
    my $so = "$root/usr/lib/nginx/modules/ngx_http_aegis_module.so";
    ok(-s $so, 'is where nginx looks for modules');
    is(slurp("$root/usr/share/nginx/modules-available/mod-http-aegis.conf"),
        "load_module modules/ngx_http_aegis_module.so;\n", 'and loaded from there');
    my $depends = run_ok(['dpkg-deb', '-f', $deb{'libnginx-mod-http-aegis'}, 'Depends']);
    my ($abi) = slurp('/usr/share/nginx/src/debian/libnginx-mod.abisubstvars') =~ /^nginx:abi=(\S+)/m;
    like($depends, qr/\b\Q$abi\E\b/, "by no other nginx than one with $abi");
    my %script = map { $_ => run_ok(['dpkg-deb', '--info', $deb{'libnginx-mod-http-aegis'}, $_]) } qw(postinst postrm);
    like($script{postinst}, qr/50-mod-http-aegis\.conf/, 'installing enables it');
    like($script{$_}, qr/dpkg-trigger .*nginx-reload/, "$_ reloads nginx") for sort keys %script;
    my $head = run_ok(['readelf', '-dW', $so]);
    like($head, qr/BIND_NOW|FLAGS.*NOW/, 'it is hardened');
};

subtest 'the workers' => sub {
    my $units = "$root/usr/lib/systemd/system";
    for my $f (map { s{.*/deploy/systemd/}{}r } glob root . '/deploy/systemd/*.* ' . root . '/deploy/systemd/*/*.conf') {
        next if -d root . "/deploy/systemd/$f";
        is(slurp("$units/$f"), slurp(root . "/deploy/systemd/$f"), "$f is shipped");
    }
    is(slurp("$root/usr/lib/sysusers.d/aegis-workers.conf"), slurp(root . '/deploy/sysusers.d/aegis.conf'), 'the user');
    is(slurp("$root/usr/lib/tmpfiles.d/aegis.conf"), slurp(root . '/deploy/tmpfiles.d/aegis.conf'), 'its folders');
    my $postinst = run_ok(['dpkg-deb', '--info', $deb{'aegis-workers'}, 'postinst']);
    like($postinst, qr/systemd-sysusers.*systemd-tmpfiles/s, 'are made, the user first');
    unlike($postinst, qr/deb-systemd-invoke start|systemctl enable/, 'nothing is started');
    my $r = run(["$root/usr/bin/aegis-worker", '-c', "$root/etc/aegis/aegis.yaml", '--check', 'all']);
    is($r->{rc}, 0, 'its settings pass its own check') or diag($r->{out} . $r->{err});
};

subtest 'the example site' => sub {
    my $prefix = scratch('nginx');
    my $etc = "$root/etc/nginx/snippets";
    for my $name (map { m{([^/]+)$} } glob root . '/conf/aegis_*.conf') {
        is(slurp("$etc/$name"), slurp(root . "/conf/$name"), "$name is shipped, and included by nobody");
    }
    my $site = slurp("$root/usr/share/doc/libnginx-mod-http-aegis/examples/aegis-site.conf");
    unlike($site, qr/\bload_module\b/, 'loads nothing twice');
    like(slurp("$root/usr/share/doc/libnginx-mod-http-aegis/examples/nginx-cpu.conf"), qr/^\[Service\]\nCPUWeight=\d+$/m, 'the share of the cores is beside it');
    spew("$prefix/keys", '');
    spew("$prefix/cursor.secret", '0123456789abcdef' x 2);
    run_ok([qw(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost),
        '-keyout', "$prefix/tls.key", '-out', "$prefix/tls.pem"]);
    my $port = free_port();
    $site =~ s{listen \[::\].*}{};
    $site =~ s{listen 443}{listen 127.0.0.1:$port};
    $site =~ s{/etc/aegis/|/var/log/nginx/}{$prefix/}g;
    $site =~ s{/etc/ssl/\w+/aegis\.(pem|key)}{"$prefix/tls." . $1}ge;
    $site =~ s{/usr/share/aegis/}{$root/usr/share/aegis/}g;
    $site =~ s{snippets/}{$etc/}g;
    spew("$prefix/nginx.conf", "load_module $root/usr/lib/nginx/modules/ngx_http_aegis_module.so;\n"
        . "pid $prefix/pid;\nerror_log $prefix/error.log;\nevents {}\nhttp {\n"
        . join('', map { "${_}_temp_path $prefix/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi)) . "$site}\n");
    my $t = run(['nginx', '-t', '-p', $prefix, '-c', "$prefix/nginx.conf", '-e', "$prefix/error.log"],
        env => { PATH => "$ENV{PATH}:/usr/sbin" });
    is($t->{rc}, 0, 'is taken by nginx, with the packaged module and files') or diag($t->{err});
};

subtest 'what the parts share' => sub {
    for my $f (files_of(qr{^sql/.*\.sql$})) {
        is(slurp("$root/usr/share/aegis/$f"), slurp(root . "/$f"), $f);
    }
    is(slurp("$root/usr/share/aegis/openapi.json"), slurp(root . '/docs/openapi.json'), 'openapi.json');
    my ($version) = slurp(root . '/core/aegis.h') =~ /AEGIS_VERSION\s+"([^"]+)"/;
    like(run_ok(["$root/usr/bin/aegisctl", '--version']), qr/\b\Q$version\E\b/, 'aegisctl runs');
    like(run_ok(['dpkg-deb', '-f', $deb{aegisctl}, 'Version']), qr/^\Q$version\E\+deb\d+$/, 'and the packages have its version');
};

subtest 'Build-Depends' => sub {
    # what the sources are built with here is what the packages ask for
    my ($deps) = slurp(root . '/deploy/debian/control') =~ /^Build-Depends:(.*?)^\S/ms;
    my ($list) = slurp(root . '/deploy/quickstart/deps.sh') =~ /^packages="(.*?)"/ms;
    my @dev = grep { /-dev$/ && !/^(?:libc6|nginx)-dev$/ } split ' ', $list;
    cmp_ok(scalar @dev, '>', 5, 'deps.sh names libraries');
    like($deps, qr/^ \Q$_\E,/m, $_) for @dev;
};

done_testing;
