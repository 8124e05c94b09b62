package main

import "context"

func capture(ctx context.Context, o *options) ([]*table, error) { return nil, nil }
func repeat(ctx context.Context, o *options) ([]*table, error)  { return nil, nil }
func start(ctx context.Context, o *options) ([]*table, error)   { return nil, nil }
func trips(ctx context.Context, o *options) ([]*table, error)   { return nil, nil }
func demo(ctx context.Context, o *options) ([]*table, error)    { return nil, nil }
