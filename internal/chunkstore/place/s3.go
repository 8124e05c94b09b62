package place

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// requests at once, so that a batch does not take a round trip for each of its items.
	requests = 32
	// tries of a request that fails in a way that may pass.
	tries       = 5
	contentType = "application/octet-stream"
)

// objectStore is a Backend in an S3-compatible object store: items are objects whose keys begin with a prefix.
type objectStore struct {
	client *minio.Client
	bucket string
	prefix string // ends with a slash, or is empty
}

// s3Address is where an object store is.
type s3Address struct {
	endpoint, bucket, prefix, region string
	insecure, virtual                bool
}

// OpenS3 opens a place in an S3-compatible object store: s3://host[:port]/bucket[/prefix], with the options region=NAME,
// insecure=1 (HTTP without TLS) and style=virtual (the bucket as part of the host's name) behind a "?". The bucket must be
// there. Who asks is told by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, or by the file that
// AWS_SHARED_CREDENTIALS_FILE names, or ~/.aws/credentials, profile AWS_PROFILE.
func OpenS3(ctx context.Context, addr string) (Backend, error) {
	a, err := parseS3(addr)
	if err != nil {
		return nil, err
	}
	who := credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}})
	if v, err := who.GetWithContext(nil); err != nil || v.AccessKeyID == "" {
		return nil, fmt.Errorf("open %s: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write a credentials file", a)
	}
	o := &minio.Options{Creds: who, Secure: !a.insecure, Region: a.region, MaxRetries: tries, BucketLookup: minio.BucketLookupPath}
	if a.virtual {
		o.BucketLookup = minio.BucketLookupDNS
	}
	client, err := minio.New(a.endpoint, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a, err)
	}
	there, err := client.BucketExists(ctx, a.bucket)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a, err)
	}
	if !there {
		return nil, fmt.Errorf("open %s: bucket %q: %w", a, a.bucket, fs.ErrNotExist)
	}
	return &objectStore{client: client, bucket: a.bucket, prefix: a.prefix}, nil
}

func (a *s3Address) String() string { return "s3://" + a.endpoint + "/" + a.bucket + "/" + a.prefix }

// parseS3 reads an address. What it says in an error has no query: people put secrets there.
func parseS3(addr string) (*s3Address, error) {
	shown, _, _ := strings.Cut(addr, "?")
	bad := func(format string, args ...any) (*s3Address, error) {
		return nil, fmt.Errorf("address %.200q of an object store: %s", shown, fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(addr)
	switch {
	case err != nil:
		return bad("it is no URL")
	case u.Scheme != "s3" || u.Host == "" || u.Opaque != "" || u.Fragment != "":
		return bad("it is not s3://host/bucket/prefix")
	case u.User != nil:
		return nil, errors.New("address of an object store: credentials do not belong there, but into the environment or a file")
	}
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if bucket == "" {
		return bad("it names no bucket")
	}
	prefix = strings.Trim(prefix, "/")
	for part := range strings.SplitSeq(prefix, "/") {
		if prefix != "" && (part == "" || part == "." || part == "..") {
			return bad("prefix %q", prefix)
		}
	}
	if prefix != "" {
		prefix += "/"
	}
	a := &s3Address{endpoint: u.Host, bucket: bucket, prefix: prefix}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("options cannot be read")
	}
	for k, v := range query {
		if len(v) != 1 || !a.set(k, v[0]) {
			return bad("option %q is not known, or has no such value", k)
		}
	}
	return a, nil
}

func (a *s3Address) set(option, value string) (ok bool) {
	switch option {
	case "region":
		a.region = value
		return value != ""
	case "insecure":
		v, err := strconv.ParseBool(value)
		a.insecure = v
		return err == nil
	case "style":
		a.virtual = value == "virtual"
		return value == "virtual" || value == "path"
	}
	return false
}

// s3Error has errors of an object store match what those of other backends do.
func s3Error(what string, err error) error {
	if err == nil {
		return nil
	}
	r := minio.ToErrorResponse(err)
	switch {
	case r.Code == minio.NoSuchKey:
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case r.Code == "XMinioStorageFull" || r.Code == "QuotaExceeded" || r.StatusCode == http.StatusInsufficientStorage:
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("object store: %s: %w", what, err)
}

func (o *objectStore) Get(ctx context.Context, name string, buf []byte) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	what := "get " + name
	r, info, _, err := minio.Core{Client: o.client}.GetObject(ctx, o.bucket, o.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, s3Error(what, err)
	}
	defer r.Close()
	if info.Size < 0 || info.Size > MaxItem {
		return nil, fmt.Errorf("object store: %s: %w: %d bytes", what, ErrDamaged, info.Size)
	}
	buf = sized(buf, int(info.Size))
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, s3Error(what, err)
	}
	return buf, nil
}

func (o *objectStore) PutAll(ctx context.Context, items []Item) error {
	if err := checkItems(items); err != nil {
		return err
	}
	return Parallel(ctx, len(items), requests, func(i int) error { return o.put(ctx, items[i]) })
}

func (o *objectStore) put(ctx context.Context, it Item) error {
	_, err := o.client.PutObject(ctx, o.bucket, o.prefix+it.Name, bytes.NewReader(it.Data), int64(len(it.Data)),
		minio.PutObjectOptions{ContentType: contentType, DisableMultipart: true})
	return s3Error("put "+it.Name, err)
}

func (o *objectStore) Delete(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return Parallel(ctx, len(names), requests, func(i int) error {
		err := s3Error("delete "+names[i], o.client.RemoveObject(ctx, o.bucket, o.prefix+names[i], minio.RemoveObjectOptions{}))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (o *objectStore) List(ctx context.Context, prefix string, f func(Info) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for i := range o.client.ListObjectsIter(ctx, o.bucket, minio.ListObjectsOptions{Prefix: o.prefix + prefix, Recursive: true}) {
		if i.Err != nil {
			return s3Error("list", i.Err)
		}
		name := strings.TrimPrefix(i.Key, o.prefix)
		if err := f(Info{Name: name, Size: i.Size, Used: i.LastModified, Foreign: !ValidName(name)}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Touch copies objects onto themselves, which renews their time without moving their data; not all servers do so.
func (o *objectStore) Touch(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return Parallel(ctx, len(names), requests, func(i int) error {
		err := o.touch(ctx, names[i])
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (o *objectStore) touch(ctx context.Context, name string) error {
	info, err := o.client.CopyObject(ctx,
		minio.CopyDestOptions{Bucket: o.bucket, Object: o.prefix + name, ReplaceMetadata: true, ContentType: contentType},
		minio.CopySrcOptions{Bucket: o.bucket, Object: o.prefix + name})
	if err != nil {
		return s3Error("touch "+name, err)
	}
	if time.Since(info.LastModified) < time.Minute {
		return nil
	}
	b, err := o.Get(ctx, name, nil)
	if err != nil {
		return err
	}
	return o.put(ctx, Item{name, b})
}

func (o *objectStore) Close() error { return nil }
