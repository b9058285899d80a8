package bedrock

import (
	"errors"
	"regexp"
	"strings"
)

var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// parseURL returns the region and the model of bedrock://[region/][model]; either may be "". It does not use net/url,
// because model IDs contain colons and ARNs contain slashes.
func parseURL(raw string) (region, model string, err error) {
	rest, ok := strings.CutPrefix(raw, "bedrock://")
	if !ok {
		return "", "", errors.New("a Bedrock URL is bedrock://[region/][model]")
	}
	if strings.ContainsAny(rest, "@?# ") {
		return "", "", errors.New("a Bedrock URL is bedrock://[region/][model] and takes no user, password or query; credentials come from the AWS environment or profile")
	}
	rest = strings.TrimRight(rest, "/")
	first, after, _ := strings.Cut(rest, "/")
	if regionName.MatchString(first) {
		return first, after, nil
	}
	return "", rest, nil
}
