package main

import "context"

func trips(ctx context.Context, o *options) ([]*table, error) { return nil, nil }
func demo(ctx context.Context, o *options) ([]*table, error)  { return nil, nil }
