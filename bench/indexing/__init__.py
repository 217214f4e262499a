"""What a job costs, beside a bare loop, again, and at two million rows; and a thousand live changes a second."""
