package vllm

import "testing"

func FuzzLoad(f *testing.F) {
	f.Add([]byte("vllm:num_requests_running 1\nvllm:num_requests_waiting -1\nvllm:kv_cache_usage_perc 2\nvllm:cache_config_info{block_size=\"x\",num_gpu_blocks=\"1e9\"} 1\n"))
	f.Fuzz(func(t *testing.T, page []byte) {
		l, err := parseLoad(page)
		if err == nil && (l.Running < 0 && l.Running != -1 || l.Waiting < 0 && l.Waiting != -1) {
			t.Fatalf("%+v", l)
		}
	})
}
