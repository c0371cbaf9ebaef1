package git

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// A CommitInfo is what counts of a commit.
type CommitInfo struct {
	Tree ID
	Time int64 // when it was committed, seconds since 1970
}

// Commit reads a commit.
func (r *Repo) Commit(id ID) (CommitInfo, error) {
	data, err := r.Objects.Read(id, Commit, maxSmall)
	if err != nil {
		return CommitInfo{}, err
	}
	c, err := parseCommit(data)
	if err != nil {
		err = &ObjectError{Commit, id, err}
	}
	return c, err
}

func parseCommit(data []byte) (c CommitInfo, err error) {
	head, _, _ := bytes.Cut(data, []byte("\n\n"))
	for i, line := range bytes.Split(head, []byte("\n")) {
		key, value, _ := bytes.Cut(line, []byte(" "))
		switch {
		case i == 0 && string(key) == "tree":
			c.Tree, err = ParseID(string(value))
		case i == 0:
			err = errors.New("it is damaged: it does not begin with its tree")
		case string(key) == "committer":
			// NAME <MAIL> SECONDS ZONE. What old tools wrote instead counts as 1970.
			if at := bytes.LastIndexByte(value, '>'); at >= 0 {
				seconds, _, _ := bytes.Cut(bytes.TrimSpace(value[at+1:]), []byte(" "))
				c.Time, _ = strconv.ParseInt(string(seconds), 10, 64)
			}
			return c, nil
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// maxTags is how many tags may be between a name and its commit.
const maxTags = 100

// Peel returns the commit that id is or, through tags, names.
func (r *Repo) Peel(id ID) (ID, error) {
	for range maxTags {
		k, data, err := r.Objects.read(id, maxSmall)
		if err != nil {
			return "", &ObjectError{Commit, id, err}
		}
		switch k {
		case Commit:
			return id, nil
		case Tag:
			if id, err = tagged(data); err != nil {
				return "", &ObjectError{Tag, id, err}
			}
		default:
			return "", fmt.Errorf("%s is a %s, no commit", id, k)
		}
	}
	return "", fmt.Errorf("%s is a tag of tags of tags", id)
}

func tagged(data []byte) (ID, error) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	text, ok := bytes.CutPrefix(line, []byte("object "))
	if !ok {
		return "", errors.New("it is damaged: it does not begin with what it names")
	}
	return ParseID(string(text))
}
