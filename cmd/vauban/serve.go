package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm/door"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/compute/batch"
	"vauban.dev/dataplane/bastion"
	"vauban.dev/dataplane/blob"
	"vauban.dev/dataplane/file"
	"vauban.dev/dataplane/keyvault"
	"vauban.dev/dataplane/loganalytics"
	"vauban.dev/dataplane/mlflow"
	"vauban.dev/dataplane/queue"
	"vauban.dev/dataplane/runhistory"
	"vauban.dev/dataplane/table"
	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/entra/graph"
	"vauban.dev/entra/signin"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/fabric/linux"
	"vauban.dev/fabric/probe"
	"vauban.dev/fabric/servicetags"
	"vauban.dev/fabric/vpn"
	"vauban.dev/internal/ca"
	"vauban.dev/internal/clock"
	"vauban.dev/internal/httpx"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/metrics"
	"vauban.dev/ml"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/deployments"
	"vauban.dev/provider/dnsresolver"
	"vauban.dev/provider/export"
	"vauban.dev/provider/features"
	"vauban.dev/provider/gateway"
	"vauban.dev/provider/insights"
	kvprovider "vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/managedidentity"
	"vauban.dev/provider/managementgroups"
	"vauban.dev/provider/network"
	"vauban.dev/provider/networkwatcher"
	"vauban.dev/provider/objects"
	"vauban.dev/provider/operationalinsights"
	"vauban.dev/provider/policy"
	"vauban.dev/provider/policyinsights"
	"vauban.dev/provider/privatedns"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/quota"
	"vauban.dev/provider/resourcegraph"
	"vauban.dev/provider/resources"
	"vauban.dev/provider/storage"
	"vauban.dev/region"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// world is the running region: every part made once, and how they know each other.
type world struct {
	region   *region.Server
	settings settings
	log      *slog.Logger
	started  time.Time

	clock     *clock.Region
	db        store.Store
	dbEnded   <-chan struct{}
	keys      *seal.Keyring
	customers *customerKeys
	activity  *activity.Log
	entra     *entra.Directory
	signin    *signin.Service
	roles     *authorization.Source
	access    *authz.Evaluator
	hierarchy managementgroups.Hierarchy
	groups    *managementgroups.Provider
	policies  *policy.Provider
	insights  *policyinsights.Provider
	deploys   *deployments.Provider
	engine    *rp.Engine
	door      *door.Door
	throttle  door.Throttle
	// objectOnly are the types without their service, in alphabetical order.
	objectOnly []string
	links      *privatelink.Links
	accounts   *storageAccounts
	blobs      *blob.Service
	queues     *queue.Service
	tables     *table.Service
	files      *file.Service
	secrets    *keyvault.Service
	runs       *ml.Store
	network    *network.Provider
	ml         *machinelearning.Provider
	vms        *compute.Provider
	launcher   *nodeLauncher

	tags         *servicetags.Live
	tagsMu       sync.Mutex // one update at a time
	public       publicZone
	names        *publicNames
	authority    *ca.Authority
	driver       *linux.Driver
	hosts        *httpx.Hosts
	front        *httpx.Front
	sync         *netSync
	gateways     *gateway.Provider
	vpn          *vpn.Engine
	bastion      *bastion.Service
	outside      netip.AddrPort // where clients outside the region reach the gateways
	proxy        *loopbackProxy
	flowLogs     *flowLogs
	resourceLogs *resourceLogs
	measured     *metrics.Book
	logs         *loganalytics.Service
	captures     *captures
	watches      watches
	first        credentials

	follow []func(context.Context) // what runs until the server ends
}

// drainTime is what running requests have to end when the server is told to.
const drainTime = 2 * time.Second

// runServe is the server: it runs inside the region until ctx ends.
func runServe(ctx context.Context, s *region.Server, log *slog.Logger) error {
	w := &world{region: s, log: log, started: time.Now(), clock: &clock.Region{}}
	defer w.close()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"settings", w.readSettings},
		{"store", w.openStore},
		{"directory", w.openDirectory},
		{"services", w.openServices},
		{"resource providers", w.openProviders},
		{"first credentials", w.bootstrap},
		{"roles", func(ctx context.Context) error { return w.roles.CountNow(ctx) }},
		{"the sign-in of az", func(context.Context) error { return signAzIn(w.region.Dir, w.first) }},
		{"network", w.openNetwork},
		{"hosts", w.openHosts},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return w.run(ctx)
}

func (w *world) readSettings(context.Context) (err error) {
	w.settings, err = readSettings(w.region.Dir)
	return err
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.region.Dir}, elem...)...)
}

func (w *world) openStore(ctx context.Context) (err error) {
	if w.db, w.dbEnded, err = openBackend(ctx, w.region.Dir, w.settings, w.region.Dial); err != nil {
		return err
	}
	if err := loadClock(ctx, w.db, w.clock); err != nil {
		return err
	}
	if err := seal.NoCoreDumps(); err != nil {
		return err
	}
	platform, err := seal.OpenPlatformKey(w.path("platform.key"))
	if err != nil {
		return err
	}
	w.keys = seal.NewKeyring(w.db, platform)
	w.customers = newCustomerKeys(w, platform)
	if err := w.openActivity(ctx); err != nil {
		return err
	}
	w.authority, err = ca.Open(w.path("ca"), "vauban", wallClock{})
	return err
}

func (w *world) openDirectory(ctx context.Context) (err error) {
	if w.entra, err = entra.New(ctx, w.db, w.clock, directory.Options{}); err != nil {
		return err
	}
	if w.roles, err = authorization.Open(ctx, w.db, w.clock, w.settings.RoleDelay); err != nil {
		return err
	}
	w.follow = append(w.follow, w.roles.Run)
	w.access = &authz.Evaluator{Source: w.roles, Directory: people{w.entra, w.db}}
	w.engine = rp.New(rp.Config{
		Store: w.db, Clock: w.clock, Log: w.log, Identities: w.entra, TenantID: w.entra.Tenant().ID,
		Locations: locations(w.settings.Location), LocationName: resources.DisplayName, Activity: w.activity,
	})
	w.groups = managementgroups.New(managementgroups.Config{TenantID: w.entra.Tenant().ID, Own: ownGroup})
	hierarchy := w.groups.Hierarchy(w.engine)
	w.access.Hierarchy, w.hierarchy = hierarchy, hierarchy
	return nil
}

func (w *world) openServices(context.Context) (err error) {
	tokens := verifier{w.entra}
	w.accounts = newStorageAccounts(w.engine, w.entra.Tenant().ID)
	w.blobs, err = blob.Open(blob.Config{
		Store: w.db, Keys: w.customers.ring, Dir: w.path("blobs"), Clock: w.clock, Log: w.log, Tokens: tokens, Authorizer: w.access,
		Accounts: w.accounts, Settings: newBlobSettings(w.engine),
	})
	if err != nil {
		return err
	}
	common := storagehttp.Config{Store: w.db, Keys: w.customers.ring, Clock: w.clock, Log: w.log, Tokens: tokens, Authorizer: w.access, Accounts: w.accounts}
	w.queues, w.tables = queue.Open(common), table.Open(common)
	if w.files, err = file.Open(file.Config{Config: common, Dir: w.path("files"), Settings: shareSettings{w.engine}}); err != nil {
		return err
	}
	w.logs = newLogs(w)
	w.resourceLogs, w.measured = newResourceLogs(w), metrics.New(w.db)
	w.follow = append(w.follow, w.resourceLogs.run, w.keepMetrics)
	w.secrets = keyvault.Open(keyvault.Config{
		Store: w.db, Keys: w.keys, Clock: w.clock, Log: w.log, Tokens: tokens, Authorizer: w.access, Vaults: newVaultLookup(w.engine), Audit: w.resourceLogs.vault,
	})
	w.customers.open(w.engine)
	w.follow = append(w.follow, w.customers.run)
	w.runs = ml.New(w.db, w.clock)
	w.runs.Tell(w.recordRun)
	return nil
}

func (w *world) openProviders(context.Context) (err error) {
	tags, err := loadTags(w.region.Dir)
	if err != nil {
		return err
	}
	w.tags = servicetags.NewLive(tags)
	w.sync = &netSync{engine: w.engine, log: w.log, compiler: fabric.NewCompiler(), wake: make(chan struct{}, 1), servers: map[string]*served{}, relays: map[linux.Socket]*served{}, sockets: map[linux.Socket]bool{}}
	w.sync.prober = probe.New(w.sync.dialProbe, w.sync.again)
	tenant := w.entra.Tenant()
	data := containers{blobs: w.blobs, drop: []func(context.Context, string) error{w.queues.DeleteAccount, w.tables.DeleteAccount, w.files.DeleteAccount}}
	accounts, vaults := storage.New(data), kvprovider.New(vaultData{w.secrets})
	accounts.Keep(queues{w.queues}, tables{w.tables}, shares{w.files}, serviceRules{})
	bundle := w.path("exec", "ca-certificates.crt")
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	w.launcher = &nodeLauncher{dir: w.path("nodes"), data: w.region.Dir, exe: exe, bundle: bundle, images: environments(w.settings.Images), resolver: w.sync.resolverOf}
	w.watches.w = w
	w.launcher.starting = w.watches.starting
	w.follow = append(w.follow, w.watches.run)
	images := map[string]bool{}
	for ref := range w.settings.Images {
		images[ref] = true
	}
	var targets lateLinks
	w.flowLogs, w.captures = newFlowLogs(w), &captures{w: w}
	watcher := networkwatcher.New(networkwatcher.Config{View: w.engine.View, Model: w.applied, Connect: w.connect, FlowLogs: w.flowLogs.changed, Captures: w.captures})
	w.network = network.New(network.Config{Engine: w.engine, Targets: &targets, Sync: w.sync, Tags: w.tags, PublicPool: publicPool,
		Prober: w.sync.prober,
		Watch:  networkwatcher.Enable, InterfaceActions: watcher.InterfaceActions()})
	w.sync.network = w.network
	w.sync.forwarder = dns.NewForwarder(w.sync.dialDNS)
	w.sync.zones = privatedns.New(privatedns.Config{Sync: w.sync, VNetExists: network.VNetExists})
	w.gateways = gateway.New(gateway.Config{Network: w.network, Sync: w.sync, Wire: lateWire{w}})
	w.sync.gateways = w.gateways
	w.sync.firewalls = newFirewalls(w)
	w.ml = machinelearning.New(machinelearning.Config{
		Clock: w.clock, Log: w.log, Runs: w.runs, Containers: data, SAS: containerSAS{w.accounts}, Tokens: runTokens{w.entra}, Access: w.access,
		Network: mlNetwork{w}, Launcher: w.launcher, TenantID: tenant.ID, Images: images, Diagnose: w.diagnose,
	})
	vms := *w.launcher
	vms.dir = w.path("machines")
	w.vms = compute.New(compute.Config{Engine: w.engine, Sync: w.sync, Launcher: vmLauncher{&vms}, Locations: locations(w.settings.Location), Log: w.log})
	objectOnly := objects.New()
	w.links = privatelink.New(accounts.Target(), vaults.Target(), w.ml.Target(), network.LinkServiceTarget(), objectOnly.Target(), objects.ClusterTarget())
	targets.Links, w.sync.links = w.links, w.links
	accounts.Use(w.links)
	accounts.UseKeys(w.customers)
	vaults.Use(w.links)
	objectOnly.Use(w.links)
	objectOnly.UseSizes(w.vms.SizeList())
	accounts.UseSubnets(network.HasServiceEndpoint)
	vaults.UseSubnets(network.HasServiceEndpoint)
	vaults.UseSecrets(w.engine.View, vaultData{w.secrets})
	vaults.UseDeleted(w.engine.Update, keyvault.Forget)
	w.ml.Attach(w.engine, w.links)
	w.policies = policy.New(policy.Config{Hierarchy: w.hierarchy, TenantID: tenant.ID, Clock: w.clock})
	w.insights = policyinsights.New(policyinsights.Config{Store: w.db, Policies: w.policies, Clock: w.clock, Log: w.log, TenantID: tenant.ID, Kinds: []string{kindClock}})
	w.deploys = newDeployments(w)
	queries := resourcegraph.New(resourcegraph.Config{TenantID: tenant.ID, Clock: w.clock, Hierarchy: w.access.Hierarchy, States: w.insights.Latest})
	exports := export.New(exportedContainers(data))
	groups := resources.New(resources.Tenant{ID: tenant.ID, DisplayName: tenant.Name, Domain: tenant.Domain}, resources.AzureLocations(), w.roles).Within(w.access.Hierarchy)
	groups.Erasing(deployments.EraseScope)
	for _, types := range [][]rp.Registration{
		groups.Types(),
		w.groups.Types(),
		features.Types(),
		{authorization.Locks()},
		insights.Types(),
		(&insights.Metrics{Engine: w.engine, Book: w.measured, Clock: w.clock, Location: w.settings.Location}).Types(),
		operationalinsights.New(w.logs).Types(),
		authorization.New(principals{w.entra}).With(w.authorizationConfig()).Types(),
		managedidentity.Types(principals{w.entra}),
		w.network.Types(),
		w.sync.zones.Types(),
		dnsresolver.New(dnsresolver.Config{Network: w.network, Sync: w.sync}).Types(),
		w.gateways.Types(),
		w.sync.firewalls.provider.Types(),
		watcher.Types(),
		accounts.Types(),
		vaults.Types(),
		w.ml.Types(),
		w.vms.Types(),
		objectOnly.Types(),
		w.links.Types(),
		w.policies.Types(),
		w.insights.Types(),
		w.deploys.Types(),
		newDeploymentScripts(w).Types(),
		queries.Types(),
		exports.Types(),
	} {
		if err := w.engine.Register(types...); err != nil {
			return err
		}
	}
	if err := w.registerRest(); err != nil {
		return err
	}
	groups.Attach(w.engine)
	quota.Enforce(w.engine, quotas())
	w.policies.Attach(w.engine)
	w.insights.Attach(w.engine)
	queries.Attach(w.engine)
	exports.Attach(w.engine)
	w.follow = append(w.follow, w.insights.Run)
	return nil
}

// lateLinks breaks the circle between the network, whose endpoints connect to targets, and the targets.
type lateLinks struct{ *privatelink.Links }

func (w *world) openNetwork(ctx context.Context) (err error) {
	w.driver, err = linux.New(linux.Config{Keeper: w.region.Keeper, Log: w.log})
	if err != nil {
		return err
	}
	if err := w.openVPN(ctx); err != nil {
		return err
	}
	tags := w.tags.Now()
	w.names = &publicNames{tags: tags, engine: w.engine, links: w.links, location: w.settings.Location}
	zone, err := w.names.zone()
	if err != nil {
		return err
	}
	var pool []netip.Prefix // of a region that the list of tags lacks: the fabric's own
	if _, ok := tags.Prefixes(servicetags.Regional("AzureCloud", w.settings.Location)); ok {
		if pool, err = tags.OutboundPool(w.settings.Location); err != nil {
			return err
		}
	}
	w.public.put(zone)
	w.sync.firewalls.driver = w.driver
	w.sync.driver, w.sync.public, w.sync.world = w.driver, &w.public, w.names.internet()
	w.sync.world.OutboundPool = pool
	return nil
}

func (w *world) openHosts(ctx context.Context) error {
	if err := w.loadThrottle(ctx); err != nil {
		return err
	}
	armAudiences := []string{entra.AudienceARM, entra.AudienceARMClassic}
	control, err := door.New(door.Config{
		Engine: w.engine, Authenticator: authenticate(w.entra.Bearer(armAudiences...)), Authorizer: w.access, Policy: w.policies, Clock: w.clock, Log: w.log,
		Region: w.settings.Location, Throttle: &w.throttle, Open: map[string]http.Handler{"/metadata/endpoints": door.AzureCloud()},
	})
	if err != nil {
		return err
	}
	w.door = control
	w.deploys.Attach(w.engine, control)
	w.insights.ActBy(actThrough(control))
	workspaces := newMLWorkspaces(w.engine)
	history := runhistory.New(runhistory.Config{
		Runs: w.runs, MLflow: mlflow.New(w.runs, mlModels{w.ml, w.engine}, mlFiles{mlBlobs{w.blobs}, workspaces}, w.clock, w.log), Workspaces: workspaces, Authorizer: w.access,
		Tokens: w.entra, Blobs: mlBlobs{w.blobs}, Clock: w.clock, Log: w.log,
	})
	w.signin, err = signin.New(ctx, signin.Config{Directory: w.entra, Store: w.db, Clock: w.clock, Log: w.log, Issuers: &http.Client{Transport: inRegion{w, "AzureActiveDirectory"}}, PasswordGrant: w.settings.PasswordGrant, LockedOut: w.recordLockOut})
	if err != nil {
		return err
	}
	w.bastion = bastion.New(bastion.Config{Region: newBastionRegion(w), Authorizer: w.access, Log: w.log})
	w.hosts = &httpx.Hosts{}
	for pattern, h := range map[string]http.Handler{
		"management.azure.com": control, "management.core.windows.net": control,
		"login.microsoftonline.com": w.signin, "login.windows.net": w.signin, "login.microsoft.com": w.signin, "sts.windows.net": w.signin,
		"graph.microsoft.com":        withUserInfo(graph.New(graph.Config{Directory: w.entra, Passwords: w.signin, Store: w.db, Clock: w.clock, Log: w.log}), w.signin.UserInfo()),
		"*." + gateway.BastionSuffix: w.bastion.Handler(),
		"*.blob.core.windows.net":    w.resourceLogs.storage("blob", w.blobs.Handler()),
		"*.vault.azure.net":          w.secrets.Handler(),
		"*.api.azureml.ms":           history.Handler(),
		"*.dfs.core.windows.net":     notServed("Data Lake Storage Gen2"),
		"*.file.core.windows.net":    w.resourceLogs.storage("file", w.files.Handler()),
		"*.queue.core.windows.net":   w.resourceLogs.storage("queue", w.queues.Handler()),
		"*.table.core.windows.net":   w.resourceLogs.storage("table", w.tables.Handler()),
		"*.notebooks.azure.net":      notServed("the workspace's notebooks"),
		"api.loganalytics.io":        w.logs.Handler(),
		"api.loganalytics.azure.com": w.logs.Handler(),
		"graph.windows.net":          notServed("Azure AD Graph, which Azure has retired,"),
	} {
		if err := w.hosts.Handle(pattern, h); err != nil {
			return err
		}
	}
	nodes := batch.NewHandler(w.ml.Queue(), w.log)
	for _, l := range places(w.settings.Location) {
		if err := w.hosts.Handle(machinelearning.BatchHost(l), nodes); err != nil {
			return err
		}
	}
	served := func(name string) bool { return name == strangerName || w.hosts.Lookup(name) != nil && w.resolves(name) }
	w.front = httpx.New(httpx.Config{Certificate: w.authority.GetCertificate(served), Hosts: w.hosts, Log: w.log})
	w.sync.front = w.front
	w.sync.imds = httpx.Listener{Handler: w.entra.IMDS(machines{w}, w.log)}
	w.proxy = newLoopbackProxy(w.hosts, served, w.region.Loopback.Addr())
	return w.front.Add(httpx.Listener{ID: loopbackID, Net: w.proxy.tunnel, TLS: true, Origin: fromLoopback})
}

// resolves keeps certificates and the proxy to names that exist: clients that look for others (telemetry,
// version checks) are refused at once.
func (w *world) resolves(name string) bool {
	_, ok := w.sync.public.Lookup(name)
	return ok
}

// authenticate is a function as door.Authenticator.
type authenticate func(*http.Request) (authz.Principal, error)

func (a authenticate) Authenticate(r *http.Request) (authz.Principal, error) { return a(r) }

// run brings the network up, says that the region is ready, and serves until ctx ends.
func (w *world) run(ctx context.Context) error {
	if err := w.writePlaceFiles(); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	failed := make(chan error, 8)
	start := func(name string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(running); err != nil && running.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	for _, f := range w.follow {
		wg.Go(func() { f(running) })
	}
	wg.Go(func() { w.sync.run(running) })
	if err := w.sync.Sync(ctx); err != nil {
		return err
	}
	start("store", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-w.dbEnded:
			return errors.New("it has lost its database for too long; start the region again with `vauban up`")
		}
	})
	start("resource manager", w.engine.Run)
	start("deployments", w.deploys.Run)
	start("blob storage", w.blobs.Run)
	start("queue storage", w.queues.Run)
	start("file storage", w.files.Run)
	start("table storage", w.tables.Run)
	start("key vault", w.secrets.Run)
	start("log analytics", w.logs.Run)
	start("machine learning", w.ml.Run)
	start("virtual machines", w.vms.Run)
	start("sign-ins", w.tidySignIns)
	start("flow logs", w.flowLogs.run)
	start("packet captures", w.captures.run)
	start("loopback", func(ctx context.Context) error { return w.proxy.run(ctx, w.region.Loopback) })
	w.handle(w.region.Control)
	if err := w.region.Ready(region.ReadyResult{Loopback: w.region.Loopback.Addr().String(), Env: w.environment()}); err != nil {
		return err
	}
	w.log.Info("ready", "took", time.Since(w.started).Round(time.Millisecond), "loopback", w.region.Loopback.Addr().String())
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if cut := w.front.Shutdown(ending); !errors.Is(cut, context.DeadlineExceeded) { // long polls may be cut
		err = errors.Join(err, cut)
	}
	return err
}

func (w *world) close() {
	if w.bastion != nil {
		w.bastion.Close()
	}
	if w.vpn != nil {
		w.sync.bgp.Close()
		w.vpn.Close()
	}
	if w.driver != nil {
		w.driver.Close()
	}
	if w.keys != nil {
		w.keys.Close()
		w.customers.ring.Close()
	}
	if w.db != nil {
		if err := w.db.Close(); err != nil {
			w.log.Error("store", "error", err)
		}
	}
}
