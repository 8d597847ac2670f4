package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"vauban.dev/bench"
	"vauban.dev/bench/scenario"
)

// The measured command tells when its process began, on the clock that the submitter reads as well.
const jobCommand = "date +%s.%N"

const (
	mlVersion   = "2024-10-01"
	jobLog      = "user_logs/std_log.txt"
	jobPatience = 60 * time.Second
	warmRounds  = 5
)

// resource is a PUT of something in the workspace.
func workspacePut(path, body string) scenario.Request {
	return scenario.Request{Path: "${workspace}/" + path + "?api-version=" + mlVersion, Body: json.RawMessage(body)}
}

// jobs measures from the submission of a job to the start of its process.
type jobs struct {
	*benchClient
	arm     scenario.Client
	storage string // token
}

func (c *benchClient) openJobs(ctx context.Context) (*jobs, error) {
	token, err := c.token(ctx, "https://management.azure.com")
	if err != nil {
		return nil, err
	}
	j := &jobs{benchClient: c, arm: scenario.Client{HTTP: c.http, Base: "https://management.azure.com", Token: token}}
	if j.storage, err = c.token(ctx, "https://storage.azure.com"); err != nil {
		return nil, err
	}
	return j, j.put(ctx, workspacePut("environments/bench/versions/1", `{"properties":{"image":"`+benchImage+`","osType":"Linux"}}`))
}

func (j *jobs) put(ctx context.Context, r scenario.Request) error {
	_, err := j.arm.Provision(ctx, []scenario.Stage{{Name: "job", Requests: []scenario.Request{r}}}, j.values)
	return err
}

// submit runs a job on a cluster and returns the seconds until its process began; it returns when the job
// has completed.
func (j *jobs) submit(ctx context.Context, cluster string) (float64, error) {
	name := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	body := fmt.Sprintf(`{"properties":{"jobType":"Command","command":%q,"experimentName":"bench","environmentId":"${workspace}/environments/bench/versions/1","computeId":"${workspace}/computes/%s"}}`,
		jobCommand, cluster)
	began := time.Now()
	if err := j.put(ctx, workspacePut("jobs/"+name, body)); err != nil {
		return 0, err
	}
	if err := j.await(ctx, name); err != nil {
		return 0, err
	}
	text, err := j.log(ctx, name)
	if err != nil {
		return 0, err
	}
	return since(began, text)
}

// since is the time from began to what `date +%s.%N` has printed, in seconds.
func since(began time.Time, text string) (float64, error) {
	seconds, nanos, ok := strings.Cut(strings.TrimSpace(text), ".")
	s, err := strconv.ParseInt(seconds, 10, 64)
	n, err2 := strconv.ParseInt(nanos, 10, 64)
	if !ok || err != nil || err2 != nil {
		return 0, fmt.Errorf("the job printed %q instead of its time", text)
	}
	return time.Unix(s, n).Sub(began).Seconds(), nil
}

// await polls as clients do, only faster.
func (j *jobs) await(ctx context.Context, name string) error {
	path, err := j.values.Fill("${workspace}/jobs/" + name + "?api-version=" + mlVersion)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, jobPatience, fmt.Errorf("job %s has not ended within %v", name, jobPatience))
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, j.arm.Base+path, nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+j.arm.Token)
		b, err := j.do(r)
		if err != nil {
			return err
		}
		var job struct {
			Properties struct{ Status string }
		}
		if err := json.Unmarshal(b, &job); err != nil {
			return err
		}
		switch job.Properties.Status {
		case "Completed":
			return nil
		case "Failed", "Canceled", "NotResponding":
			return fmt.Errorf("job %s is %s: %s", name, job.Properties.Status, b)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// log is what the job has printed.
func (j *jobs) log(ctx context.Context, name string) (string, error) {
	at := "https://" + j.blobHost() + "/azureml/ExperimentRun/dcid." + name + "/" + jobLog
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+j.storage)
	r.Header.Set("X-Ms-Version", blobVersion)
	b, err := j.do(r)
	return string(b), err
}

// bare is the same command, started by nobody but the kernel.
func bare(ctx context.Context) (float64, error) {
	began := time.Now()
	out, err := exec.CommandContext(ctx, "sh", "-c", jobCommand).Output()
	if err != nil {
		return 0, err
	}
	return since(began, string(out))
}

func (c *benchClient) jobFigure(ctx context.Context, name string, rounds int, limit float64, run func(context.Context) (float64, error)) error {
	as, bs, err := bench.Interleave(ctx, rounds, run, bare)
	if err != nil {
		return err
	}
	return c.print(bench.Pair(as, bs, func(v float64) float64 { return v }).Figure(name, "s", "the same command, fork and exec",
		bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: limit}))
}

// warmJob submits to a cluster one of whose nodes is idle.
func (c *benchClient) warmJob(ctx context.Context) error {
	j, err := c.openJobs(ctx)
	if err != nil {
		return err
	}
	return c.jobFigure(ctx, "job submitted → its process runs, warm node", warmRounds, 0.3, func(ctx context.Context) (float64, error) {
		return j.submit(ctx, scenario.Cluster)
	})
}

// coldJob submits to clusters that have no node yet, a new one each time.
func (c *benchClient) coldJob(ctx context.Context) error {
	j, err := c.openJobs(ctx)
	if err != nil {
		return err
	}
	made := 0
	return c.jobFigure(ctx, "job submitted → its process runs, cluster at 0 nodes", benchRounds, 1.5, func(ctx context.Context) (float64, error) {
		made++
		cluster := fmt.Sprintf("cold-%d", made)
		if err := j.put(ctx, workspacePut("computes/"+cluster, coldCluster)); err != nil {
			return 0, err
		}
		return j.submit(ctx, cluster)
	})
}

const coldCluster = `{"location":"${location}","properties":{"computeType":"AmlCompute","properties":{"osType":"Linux","vmSize":"STANDARD_DS3_V2",
	"vmPriority":"Dedicated","enableNodePublicIp":false,"remoteLoginPortPublicAccess":"Disabled",
	"subnet":{"id":"${network}/virtualNetworks/bench-vnet/subnets/training"},
	"scaleSettings":{"minNodeCount":0,"maxNodeCount":1,"nodeIdleTimeBeforeScaleDown":"PT120S"}}}}`
